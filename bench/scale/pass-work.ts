import {
  pairBytes,
  pairSegments,
  pairTotals,
  pairsBeforeRow,
  rankTables,
  sampleMasks,
  type Pass,
  type PairSegments,
  type Plan,
  type RankTable,
  type SampleMask,
  type Segment,
  type Unit,
} from '@ulysses/plan';

/** Messages of one sender, in the order in which they leave. Flat, because there are millions of them. */
export interface Messages {
  /** The party that each is for: a rank for inputs, an owner for results. */
  readonly to: Int32Array;
  readonly bytes: Float64Array;
  /** Of inputs, the granule of its rank that each belongs to: a unit, or units plus an interval. Of results nothing. */
  readonly granule: Int32Array;
}

/** A unit of one rank. */
export interface UnitWork {
  readonly flops: number;
  /** The granules that it waits for. */
  readonly granules: readonly number[];
  /** What leaves when it is computed. */
  readonly results: Messages;
}

/** All that happens in one pass of a plan: messages, units, and what waits for what. */
export interface PassWork {
  readonly cpSize: number;
  /** Per owner, to all ranks. */
  readonly inputs: readonly Messages[];
  /** Per rank, in plan order. */
  readonly units: readonly (readonly UnitWork[])[];
}

/** FLOP per visible pair and element of a head: two matrix products in forward, five in backward. */
const FLOPS: Readonly<Record<Pass, number>> = { forward: 4, backward: 10 };

/** Derived with the plan code of the product; inputs are kept between the passes (`keep: store`). */
export function passWork(plan: Plan, pass: Pass): PassWork {
  const { spec, cpSize } = plan;
  const size = bytesPerRow(plan, pass);
  const tables = rankTables(plan);
  const masks = sampleMasks(spec);
  const owners = spec.qSplits.length;
  const results = tables.map(({ units }) => units.map(() => new MessageList()));
  const readers = tables.map(lastReaders);
  const inputs = Array.from({ length: owners }, (_, owner) => {
    const lines = tables.map((table) => {
      const segments = pairSegments(plan, table, owner);
      addResults(segments, owner, table.rank);
      return inputLine(segments, table);
    });
    return inTurn(lines, owner);
  });
  const units = tables.map((table) =>
    table.units.map((rows, unit) => ({
      flops: FLOPS[pass] * spec.headSize * visiblePairs(masks, rows),
      granules: granulesOf(table, unit),
      results: results[table.rank]![unit]!.from(table.rank + 1).flat(),
    })),
  );
  return { cpSize, inputs, units };

  function addResults({ q, kv }: PairSegments, owner: number, rank: number): void {
    for (const { index, begin, end } of q) results[rank]![index]!.add(owner, (end - begin) * size.qOut, -1);
    if (size.kvOut === 0) return;
    for (const { index, begin, end } of kv) {
      results[rank]![readers[rank]!.get(index)!]!.add(owner, (end - begin) * size.kvOut, -1);
    }
  }

  /** KV before the first unit that reads it, as sequence owners send. */
  function inputLine({ q, kv }: PairSegments, table: RankTable): [granule: number, bytes: number][] {
    const line: [number, number][] = [];
    const sent = new Set<number>();
    const sendKeys = (interval: number, segment: Segment): void => {
      if (size.kvIn === 0 || sent.has(interval)) return;
      sent.add(interval);
      line.push([table.units.length + interval, (segment.end - segment.begin) * size.kvIn]);
    };
    for (const { index, begin, end } of q) {
      const interval = table.kvIntervalOfUnit[index]!;
      const keys = kv.find((segment) => segment.index === interval);
      if (keys !== undefined) sendKeys(interval, keys);
      line.push([index, (end - begin) * size.qIn]);
    }
    for (const segment of kv) sendKeys(segment.index, segment);
    return line;
  }

  function granulesOf(table: RankTable, unit: number): number[] {
    const interval = table.kvIntervalOfUnit[unit]!;
    return size.kvIn === 0 || interval < 0 ? [unit] : [unit, table.units.length + interval];
  }
}

/** Bytes of one q-like and one KV row on the way in and out, by the plan's own sums. */
function bytesPerRow({ spec }: Plan, pass: Pass): { qIn: number; qOut: number; kvIn: number; kvOut: number } {
  const row: Segment = { index: 0, batch: 0, head: 0, begin: 0, end: 1 };
  const q = pairTotals(pairBytes(spec, { q: [row], kv: [] }, pass, []));
  const kv = pairTotals(pairBytes(spec, { q: [], kv: [row] }, pass, []));
  return { qIn: q.toRank, qOut: q.toOwner, kvIn: kv.toRank, kvOut: kv.toOwner };
}

function visiblePairs(masks: readonly SampleMask[], { batch, qBegin, qEnd }: Unit): number {
  const mask = masks[batch]!;
  return pairsBeforeRow(mask, qEnd) - pairsBeforeRow(mask, qBegin);
}

/** Per KV interval, the last unit that reads it: its partial sums leave then. */
function lastReaders({ kvIntervalOfUnit }: RankTable): Map<number, number> {
  return new Map(kvIntervalOfUnit.map((interval, unit) => [interval, unit]));
}

/**
 * One message of each rank in turn, as every link has its share of the sender. Each owner begins beside itself, because shares
 * are equal at every moment and not one rank's turn everywhere at once.
 */
function inTurn(lines: readonly (readonly [granule: number, bytes: number][])[], owner: number): Messages {
  const list = new MessageList();
  const longest = lines.reduce((length, line) => Math.max(length, line.length), 0);
  for (let i = 0; i < longest; i++) {
    for (let turn = 1; turn <= lines.length; turn++) {
      const rank = (owner + turn) % lines.length;
      const next = lines[rank]![i];
      if (next !== undefined) list.add(rank, next[1], next[0]);
    }
  }
  return list.flat();
}

class MessageList {
  readonly #to: number[] = [];
  readonly #bytes: number[] = [];
  readonly #granule: number[] = [];

  add(to: number, bytes: number, granule: number): void {
    this.#to.push(to);
    this.#bytes.push(bytes);
    this.#granule.push(granule);
  }

  /** The same, those for `first` and parties after it before the others. */
  from(first: number): MessageList {
    const rotated = new MessageList();
    const begin = Math.max(
      0,
      this.#to.findIndex((to) => to >= first),
    );
    for (let turn = 0; turn < this.#to.length; turn++) {
      const i = (begin + turn) % this.#to.length;
      rotated.add(this.#to[i]!, this.#bytes[i]!, this.#granule[i]!);
    }
    return rotated;
  }

  flat(): Messages {
    return {
      to: Int32Array.from(this.#to),
      bytes: Float64Array.from(this.#bytes),
      granule: Int32Array.from(this.#granule),
    };
  }
}
