import { elementBytes, rowStrides, type RowStrides } from '@ulysses/tensor';
import type { Receive, Region, RowsToSend, SegmentPlace, TensorName } from '@ulysses/native';
import {
  granulesOf,
  pairBytes,
  pairSegments,
  pairTotals,
  rankTable,
  type CarriedTensor,
  type Granule,
  type PairSegments,
  type Plan,
  type RankTable,
  type RowRange,
  type Segment,
} from '@ulysses/plan';
import { rankParty } from './party.js';
import { within } from './within.js';

/**
 * The sequence owner's side of the exchange: which rows of its shard go to whom, and where what comes back belongs.
 * Rows of the shard beyond the gather size belong to no segment: they are not sent, and stay zero in results.
 */
export interface OwnerExchange {
  readonly plan: Plan;
  readonly owner: number;
  readonly q: ShardGeometry;
  readonly kv: ShardGeometry;
  readonly tables: readonly RankTable[];
  /** What each rank computes at a time, which says what it waits for first. */
  readonly granules: readonly (readonly Granule[])[];
  /** Segments between this owner and every rank, in rank order. */
  readonly byRank: readonly PairSegments[];
}

/** A shard in memory: [s_local, b, h, d], [b, s_local, h, d] or [t_local, h, d]. */
interface ShardGeometry {
  /** Rows of the shard, exchanged or not. */
  readonly rows: number;
  /** Whole-sequence row of the shard's first row. */
  readonly begin: number;
  readonly strides: RowStrides;
}

/** An owner's shards of the inputs. */
interface Inputs {
  readonly q: Region;
  readonly k: Region;
  readonly v: Region;
}

export function ownerExchange(
  plan: Plan,
  owner: number,
  shardRows: { readonly q: number; readonly kv: number },
): OwnerExchange {
  const { spec } = plan;
  const geometry = (rows: number, splits: readonly number[], heads: number): ShardGeometry => ({
    rows,
    begin: splits.slice(0, owner).reduce((sum, split) => sum + split, 0),
    strides: rowStrides({ layout: spec.layout, rows, batch: spec.batch, heads, headSize: spec.headSize }),
  });
  const tables = Array.from({ length: plan.cpSize }, (_, rank) => rankTable(plan, rank));
  return {
    plan,
    owner,
    q: geometry(shardRows.q, spec.qSplits, spec.qHeads),
    kv: geometry(shardRows.kv, spec.kvSplits, spec.kvHeads),
    tables,
    granules: granulesOf(plan, tables),
    byRank: tables.map((table) => pairSegments(plan, table, owner)),
  };
}

/** What a step sends of an owner's shard. */
interface SentTensors {
  readonly qLike: readonly (readonly ['q' | 'dout', Region])[];
  readonly kvLike: readonly (readonly ['k' | 'v', Region])[];
}

/** Everything forward sends. */
export function forwardSends(exchange: OwnerExchange, { q, k, v }: Inputs): RowsToSend[] {
  return tensorSends(exchange, {
    qLike: [['q', q]],
    kvLike: [
      ['k', k],
      ['v', v],
    ],
  });
}

/** Everything backward sends: dout rows, and those inputs that ranks did not keep. */
export function backwardSends(
  exchange: OwnerExchange,
  { dout, ...inputs }: Inputs & { dout: Region },
  carried: readonly CarriedTensor[],
): RowsToSend[] {
  const again = <T extends CarriedTensor>(...tensors: T[]): [T, Region][] =>
    tensors.filter((tensor) => carried.includes(tensor)).map((tensor) => [tensor, inputs[tensor]]);
  return tensorSends(exchange, { qLike: [...again('q'), ['dout', dout]], kvLike: again('k', 'v') });
}

/** Each rank's granules in their order, the keys that one reads before its rows, ranks in turn. */
function tensorSends(exchange: OwnerExchange, tensors: SentTensors): RowsToSend[] {
  return inTurn(exchange.byRank.map((_, rank) => rankSends(exchange, rank, tensors)));
}

function rankSends(exchange: OwnerExchange, rank: number, { qLike, kvLike }: SentTensors): RowsToSend[] {
  const { q, kv } = exchange.byRank[rank]!;
  const { units, kvIntervals, kvIntervalOfUnit } = exchange.tables[rank]!;
  // Of one unit or interval an owner holds one run of rows, so each is at most one segment.
  const [numberOfUnit, numberOfInterval] = [numbersByIndex(q), numbersByIndex(kv)];
  const sentKeys = kvIntervals.map(({ begin }) => begin);
  const shardEnd = exchange.q.begin + exchange.plan.spec.qSplits[exchange.owner]!;
  const sends: RowsToSend[] = [];
  const push = (tensor: TensorName, number: number, place: SegmentPlace, rows: RowRange): void => {
    if (rows.begin < rows.end) sends.push({ destination: rankParty(rank), tensor, number, place, rows });
  };
  const pushKeys = (interval: number, end: number): void => {
    const number = numberOfInterval.get(interval);
    const keys = { begin: sentKeys[interval]!, end };
    if (number === undefined || keys.begin >= end) return;
    sentKeys[interval] = end;
    const segment = kv[number]!;
    for (const [tensor, region] of kvLike) {
      push(tensor, number, kvPlace(exchange, region, segment), within(segment, keys));
    }
  };
  for (const { unit, qBegin, qEnd, keys } of exchange.granules[rank]!) {
    const interval = kvIntervalOfUnit[unit]!;
    // Other owners' rows of the unit wait for keys of this one that its own do not see: those leave before its rows.
    const othersWait = units[unit]!.qEnd > shardEnd;
    if (keys !== null) pushKeys(interval, othersWait ? kvIntervals[interval]!.end : keys.end);
    const number = numberOfUnit.get(unit);
    if (number === undefined) continue;
    const segment = q[number]!;
    for (const [tensor, region] of qLike) {
      const rows = within(segment, { begin: qBegin, end: qEnd });
      push(tensor, number, qPlace(exchange, region, segment), rows);
    }
  }
  return sends;
}

/** Where forward's results go: out like q, lse as [b, h, s_local] float32. */
export function forwardReturns(exchange: OwnerExchange, results: { out: Region; lse: Region }): Receive[] {
  return exchange.byRank.flatMap(({ q }, rank) => [
    receive(rank, 'out', q, (segment) => qPlace(exchange, results.out, segment)),
    receive(rank, 'lse', q, (segment) => lsePlace(exchange, results.lse, segment)),
  ]);
}

/** Float32 partial sums of one rank, its KV segments one after the other. */
export interface PartialSums {
  readonly dk: Region;
  readonly dv: Region;
}

/** Where backward's results go: dq like q, dk and dv partial sums apart for every rank. */
export function backwardReturns(
  exchange: OwnerExchange,
  results: { dq: Region; partials: readonly PartialSums[] },
): Receive[] {
  return exchange.byRank.flatMap(({ q, kv }, rank) => {
    const partials = results.partials[rank];
    if (partials === undefined) return [];
    const offsets = segmentOffsets(kv);
    return [
      receive(rank, 'dq', q, (segment) => qPlace(exchange, results.dq, segment)),
      receive(rank, 'dk', kv, (segment, number) =>
        partialPlace(exchange, partials.dk, segment, offsets[number] ?? 0),
      ),
      receive(rank, 'dv', kv, (segment, number) =>
        partialPlace(exchange, partials.dv, segment, offsets[number] ?? 0),
      ),
    ];
  });
}

/** Bytes that this owner sends and gets back in one pass, over all ranks. */
export function ownerBytes(
  exchange: OwnerExchange,
  pass: 'forward' | 'backward',
  carried: readonly CarriedTensor[],
): { sent: number; returned: number } {
  let sent = 0;
  let returned = 0;
  for (const pair of exchange.byRank) {
    const { toRank, toOwner } = pairTotals(pairBytes(exchange.plan.spec, pair, pass, carried));
    sent += toRank;
    returned += toOwner;
  }
  return { sent, returned };
}

/** Row of each segment in a region that holds a pair's segments one after the other; the last entry is the total. */
export function segmentOffsets(segments: readonly Segment[]): number[] {
  const offsets = [0];
  let rows = 0;
  for (const { begin, end } of segments) offsets.push((rows += end - begin));
  return offsets;
}

/** Byte offset of a whole-sequence KV row in a shard-shaped region of `bytesPerElement` elements. */
export function kvOffsetBytes(exchange: OwnerExchange, batch: number, head: number, row: number): number {
  const { strides, begin } = exchange.kv;
  const elements = (row - begin) * strides.row + batch * strides.batch + head * strides.head;
  return elements * elementBytes(exchange.plan.spec.dtype);
}

function qPlace(exchange: OwnerExchange, region: Region, segment: Segment): SegmentPlace {
  return shardPlace(exchange, exchange.q, region, segment);
}

function kvPlace(exchange: OwnerExchange, region: Region, segment: Segment): SegmentPlace {
  return shardPlace(exchange, exchange.kv, region, segment);
}

function shardPlace(
  { plan }: OwnerExchange,
  { begin, strides }: ShardGeometry,
  region: Region,
  segment: Segment,
): SegmentPlace {
  const bytes = elementBytes(plan.spec.dtype);
  const first =
    (segment.begin - begin) * strides.row + segment.batch * strides.batch + segment.head * strides.head;
  return {
    region,
    offsetBytes: first * bytes,
    rows: segment.end - segment.begin,
    rowBytes: plan.spec.headSize * bytes,
    rowStrideBytes: strides.row * bytes,
    granule: 0,
  };
}

function lsePlace({ plan, q }: OwnerExchange, region: Region, segment: Segment): SegmentPlace {
  const line = (segment.batch * plan.spec.qHeads + segment.head) * q.rows;
  const offsetBytes = (line + segment.begin - q.begin) * 4;
  return {
    region,
    offsetBytes,
    rows: segment.end - segment.begin,
    rowBytes: 4,
    rowStrideBytes: 4,
    granule: 0,
  };
}

function partialPlace({ plan }: OwnerExchange, region: Region, segment: Segment, row: number): SegmentPlace {
  const rowBytes = plan.spec.headSize * 4;
  const rows = segment.end - segment.begin;
  return { region, offsetBytes: row * rowBytes, rows, rowBytes, rowStrideBytes: rowBytes, granule: 0 };
}

function receive(
  rank: number,
  tensor: TensorName,
  segments: readonly Segment[],
  place: (segment: Segment, number: number) => SegmentPlace,
): Receive {
  return { source: rankParty(rank), tensor, segments: segments.map(place) };
}

function numbersByIndex(segments: readonly Segment[]): Map<number, number> {
  return new Map(segments.map(({ index }, number) => [index, number]));
}

/** Merges lists by taking one entry of each in turn, so that no rank waits for another's rows to be sent. */
function inTurn(lines: readonly (readonly RowsToSend[])[]): RowsToSend[] {
  const merged: RowsToSend[] = [];
  const longest = lines.reduce((length, line) => Math.max(length, line.length), 0);
  for (let i = 0; i < longest; i++) {
    for (const line of lines) {
      const next = line[i];
      if (next !== undefined) merged.push(next);
    }
  }
  return merged;
}
