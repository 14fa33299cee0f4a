import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { pairSegments } from './pair-segments.js';
import { createPlan, verifyPlan } from './plan.js';
import { planIdOf } from './plan-id.js';
import { rankTable, rankTables } from './rank-table.js';
import { rowBounds } from './row-bounds.js';
import { pairsBeforeRow, sampleMask, samplePairs } from './sample-mask.js';
import type { Mask, Plan, RankTable, StepSpec } from './spec.js';
import { splitOffsets, sumOf } from './split-sizes.js';
import { carriedTensors, KEEPS, KV_CACHE_POLICIES } from './kv-cache.js';
import { stepBytes } from './step-bytes.js';

// Claims over random specs: every mask, layout, split, strategy and weighting. fast-check prints the seed of a failure.

/** Cuts `total` into `parts` at random places; zero sizes are likely. */
function splitsOf(total: number, parts: number): fc.Arbitrary<number[]> {
  return fc.array(fc.nat(total), { minLength: parts - 1, maxLength: parts - 1 }).map((inner) => {
    const bounds = [0, ...inner.sort((a, b) => a - b), total];
    return bounds.slice(1).map((bound, index) => bound - bounds[index]!);
  });
}

const bandSide = fc.option(fc.nat(8));

function segmentsOf(sQ: number, sKv: number, same: boolean): fc.Arbitrary<Mask['segments']> {
  return fc.integer({ min: 1, max: 5 }).chain((samples) =>
    fc.record({ q: splitsOf(sQ, samples), kv: splitsOf(sKv, samples) }).map(({ q, kv }) => ({
      cuSeqlensQ: splitOffsets(q),
      cuSeqlensKv: splitOffsets(same ? q : kv),
    })),
  );
}

function validRangesOf(sQ: number, sKv: number, batch: number): fc.Arbitrary<Mask['validRanges']> {
  const ranges = (rows: number) =>
    fc.array(
      fc.tuple(fc.nat(rows), fc.nat(rows)).map(([a, b]) => ({ begin: Math.min(a, b), end: Math.max(a, b) })),
      { minLength: batch, maxLength: batch },
    );
  return fc.record({ q: ranges(sQ), kv: ranges(sKv) });
}

const specs: fc.Arbitrary<StepSpec> = fc
  .record({
    batch: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 3 }),
    kvHeads: fc.integer({ min: 1, max: 3 }),
    owners: fc.integer({ min: 1, max: 4 }),
    sQ: fc.integer({ min: 1, max: 24 }),
    sKv: fc.option(fc.integer({ min: 1, max: 24 })),
  })
  .chain(({ batch, group, kvHeads, owners, sQ, sKv }) => {
    const keys = sKv ?? sQ;
    const segments: fc.Arbitrary<Mask['segments']> =
      batch === 1 ? fc.option(segmentsOf(sQ, keys, sKv === null)) : fc.constant(null);
    const mask = segments.chain((chosen) =>
      fc.record<Mask>({
        left: bandSide,
        right: bandSide,
        segments: fc.constant(chosen),
        validRanges: chosen === null ? fc.option(validRangesOf(sQ, keys, batch)) : fc.constant(null),
      }),
    );
    return fc.record<StepSpec>({
      dtype: fc.constantFrom('f32', 'bf16', 'f16'),
      layout: batch === 1 ? fc.constantFrom('sbhd', 'bshd', 'thd') : fc.constantFrom('sbhd', 'bshd'),
      batch: fc.constant(batch),
      qHeads: fc.constant(group * kvHeads),
      kvHeads: fc.constant(kvHeads),
      headSize: fc.integer({ min: 1, max: 256 }),
      qSplits: splitsOf(sQ, owners),
      kvSplits: splitsOf(keys, owners),
      mask,
      scale: fc.float({ noNaN: true, noDefaultInfinity: true }).filter((scale) => !Object.is(scale, -0)),
      strategy: fc.constantFrom('heads', 'balanced'),
      weights: fc.constant(null),
    });
  });

const plans: fc.Arbitrary<Plan> = fc.tuple(specs, fc.integer({ min: 1, max: 9 })).chain(([spec, cpSize]) => {
  const weights = fc
    .array(fc.double({ min: 0, max: 4, noNaN: true }), { minLength: cpSize, maxLength: cpSize })
    .filter((list) => sumOf(list) > 0);
  return (spec.strategy === 'balanced' ? fc.option(weights) : fc.constant(null)).map((chosen) =>
    createPlan({ ...spec, weights: chosen }, cpSize),
  );
});

/** The definition of a mask in spec.ts, asked one (row, key) pair at a time. */
function sees({ mask, qSplits, kvSplits }: StepSpec, batch: number, row: number, key: number): boolean {
  let [qBegin, qEnd, kvBegin, kvEnd] = [0, sumOf(qSplits), 0, sumOf(kvSplits)];
  if (mask.segments !== null) {
    const { cuSeqlensQ, cuSeqlensKv } = mask.segments;
    const segment = cuSeqlensQ.findIndex(
      (begin, index) => begin <= row && row < (cuSeqlensQ[index + 1] ?? 0),
    );
    [qBegin, qEnd] = [cuSeqlensQ[segment]!, cuSeqlensQ[segment + 1]!];
    [kvBegin, kvEnd] = [cuSeqlensKv[segment]!, cuSeqlensKv[segment + 1]!];
  }
  if (mask.validRanges !== null) {
    const [q, kv] = [mask.validRanges.q[batch]!, mask.validRanges.kv[batch]!];
    if (row < q.begin || row >= q.end || key < kv.begin || key >= kv.end) return false;
  }
  if (key < kvBegin || key >= kvEnd) return false;
  const diagonal = row - qBegin + (kvEnd - kvBegin - (qEnd - qBegin));
  const keyInSegment = key - kvBegin;
  const { left, right } = mask;
  return (
    (left === null || keyInSegment >= diagonal - left) && (right === null || keyInSegment <= diagonal + right)
  );
}

function visibleKeys(spec: StepSpec, batch: number, row: number): number[] {
  return range(0, sumOf(spec.kvSplits)).filter((key) => sees(spec, batch, row, key));
}

function range(begin: number, end: number): number[] {
  return Array.from({ length: end - begin }, (_, index) => begin + index);
}

test('row bounds are exactly the visible keys', () => {
  fc.assert(
    fc.property(plans, ({ spec }) => {
      const sQ = sumOf(spec.qSplits);
      for (const batch of range(0, spec.batch)) {
        const bounds = rowBounds(spec, batch, 0, sQ, 0);
        for (const row of range(0, sQ)) {
          const [low, high] = [bounds[2 * row]!, bounds[2 * row + 1]!];
          expect(range(low, high)).toEqual(visibleKeys(spec, batch, row));
          if (low === high) expect(low).toBe(0);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('visible work before every row is the count of visible pairs', () => {
  fc.assert(
    fc.property(plans, ({ spec }) => {
      for (const batch of range(0, spec.batch)) {
        const mask = sampleMask(spec, batch);
        let pairs = 0;
        for (const row of range(0, sumOf(spec.qSplits))) {
          expect(pairsBeforeRow(mask, row)).toBe(pairs);
          pairs += visibleKeys(spec, batch, row).length;
        }
        expect(samplePairs(mask)).toBe(pairs);
      }
    }),
    { numRuns: 300 },
  );
});

test('every query row of every head is in exactly one unit', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const rows = rankTables(plan).flatMap(({ units }) =>
        units.flatMap(({ batch, qHead, qBegin, qEnd }) =>
          range(qBegin, qEnd).map((row) => [batch, qHead, row].join()),
        ),
      );
      expect(new Set(rows).size).toBe(rows.length);
      expect(rows.length).toBe(plan.spec.batch * plan.spec.qHeads * sumOf(plan.spec.qSplits));
    }),
  );
});

test('a rank receives a KV row if and only if one of its units sees it, and each unit reads one interval', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const { spec } = plan;
      const group = spec.qHeads / spec.kvHeads;
      for (const { units, kvIntervals, kvIntervalOfUnit } of rankTables(plan)) {
        const needed = new Set<string>();
        units.forEach(({ batch, qHead, qBegin, qEnd }, index) => {
          const kvHead = Math.floor(qHead / group);
          const keys = range(qBegin, qEnd).flatMap((row) => visibleKeys(spec, batch, row));
          for (const key of keys) needed.add([batch, kvHead, key].join());
          const interval = kvIntervals[kvIntervalOfUnit[index]!];
          expect(interval === undefined).toBe(keys.length === 0);
          if (interval === undefined) return;
          expect([interval.batch, interval.kvHead]).toEqual([batch, kvHead]);
          expect(interval.begin).toBeLessThanOrEqual(Math.min(...keys));
          expect(interval.end).toBeGreaterThan(Math.max(...keys));
        });
        const received = kvIntervals.flatMap(({ batch, kvHead, begin, end }) =>
          range(begin, end).map((key) => [batch, kvHead, key].join()),
        );
        expect(received.length).toBe(needed.size);
        expect(new Set(received)).toEqual(needed);
        expect(kvIntervals.every(({ begin, end }) => begin < end)).toBe(true);
        const firstReaders = kvIntervals.map((_, interval) => kvIntervalOfUnit.indexOf(interval));
        expect(firstReaders).toEqual([...firstReaders].sort((a, b) => a - b));
      }
    }),
  );
});

test('intervals of one KV head do not touch', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      for (const { kvIntervals } of rankTables(plan)) {
        for (const a of kvIntervals) {
          const apart = kvIntervals.filter(
            (b) =>
              b !== a && b.batch === a.batch && b.kvHead === a.kvHead && b.begin <= a.end && a.begin <= b.end,
          );
          expect(apart).toEqual([]);
        }
      }
    }),
  );
});

test('balanced work is within one row of its share, at any weights', () => {
  fc.assert(
    fc.property(
      plans.filter(({ spec }) => spec.strategy === 'balanced'),
      (plan) => {
        const { spec, cpSize } = plan;
        const rowWork = (batch: number, begin: number, end: number): number =>
          sumOf(range(begin, end).map((row) => visibleKeys(spec, batch, row).length));
        const sQ = sumOf(spec.qSplits);
        const samples = range(0, spec.batch);
        const work = spec.qHeads * sumOf(samples.map((batch) => rowWork(batch, 0, sQ)));
        const largestRow = Math.max(
          ...samples.flatMap((batch) => range(0, sQ).map((row) => visibleKeys(spec, batch, row).length)),
        );
        const weights = spec.weights ?? new Array<number>(cpSize).fill(1);
        rankTables(plan).forEach(({ units }, rank) => {
          const done = sumOf(units.map(({ batch, qBegin, qEnd }) => rowWork(batch, qBegin, qEnd)));
          const share = (work * weights[rank]!) / sumOf(weights);
          expect(Math.abs(done - share)).toBeLessThanOrEqual(largestRow + 1e-6);
          if (weights[rank] === 0) expect(done).toBe(0);
        });
      },
    ),
  );
});

test('every rank, from the plan as it travelled, accepts it and makes the same table', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const tables = rankTables(plan);
      for (let rank = 0; rank < plan.cpSize; rank++) {
        const received = JSON.parse(JSON.stringify(plan)) as Plan;
        verifyPlan(received);
        expect(rankTable(received, rank)).toEqual(tables[rank]);
      }
      expect(createPlan(structuredClone(plan.spec), plan.cpSize)).toEqual(plan);
    }),
  );
});

test('a plan id changes with every field: it is the same only where the field is', () => {
  fc.assert(
    fc.property(plans, specs, (plan, other) => {
      const id = (spec: StepSpec): string => planIdOf(spec, plan.cpSize, plan.cuts);
      for (const field of Object.keys(other) as (keyof StepSpec)[]) {
        const changed = { ...plan.spec, [field]: other[field] };
        const same = isDeepStrictEqual(plan.spec[field], other[field]);
        expect(id(changed) === plan.planId, field).toBe(same);
      }
    }),
    { numRuns: 300 },
  );
});

test('bytes of a step are the segments of all pairs', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const { spec } = plan;
      const element = spec.headSize * (spec.dtype === 'f32' ? 4 : 2);
      const qRows = spec.batch * spec.qHeads * sumOf(spec.qSplits);
      const kvRows = sumOf(
        rankTables(plan).map(({ kvIntervals }) => sumOf(kvIntervals.map((i) => i.end - i.begin))),
      );
      const forward = stepBytes(plan, 'forward');
      expect(forward.ownersToRanks).toBe(qRows * element + 2 * kvRows * element);
      expect(forward.ranksToOwners).toBe(qRows * (element + 4));
      const inputs = { q: qRows * element, k: kvRows * element, v: kvRows * element };
      for (const keep of KEEPS) {
        for (const policy of KV_CACHE_POLICIES) {
          const carried = carriedTensors(keep, policy);
          const backward = stepBytes(plan, 'backward', carried);
          const again = sumOf(carried.map((tensor) => inputs[tensor]));
          expect(backward.ownersToRanks).toBe(qRows * element + again);
          expect(backward.ranksToOwners).toBe(qRows * element + 2 * kvRows * spec.headSize * 4);
        }
      }
    }),
  );
});

// A whole step with integers in place of tensors and sums in place of attention, moved by segments alone:
//   out[i] = sum over visible j of q[i] * k[j]    dq[i] = sum of dout[i] * k[j]    dk[j] = sum over i of dout[i] * q[i]
// A row that is lost, doubled, misplaced or summed twice changes a sum.
test('a step whose rows move by segments gives every owner the out, dq and dk of a step on one device', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const { spec } = plan;
      const shards = spec.qSplits.map((_, owner) => shardOf(spec, owner));
      const tables = rankTables(plan);
      tables.forEach((table) => {
        stepOnRank(plan, table, shards);
      });
      expect(mergeShards(shards)).toEqual(stepOnOneDevice(spec));
    }),
    { numRuns: 200 },
  );
});

/** Rows by `batch,head,row`. */
type Rows = Map<string, number>;

/** One owner's inputs and results. */
interface Shard {
  readonly q: Rows;
  readonly k: Rows;
  readonly out: Rows;
  readonly dq: Rows;
  readonly dk: Rows;
}

const value = (batch: number, head: number, row: number, salt: number): number =>
  1 + ((batch * 7919 + head * 613 + row * 89 + salt * 31) % 101);

function shardOf(spec: StepSpec, owner: number): Shard {
  const rowsOf = (splits: readonly number[], heads: number, salt: number | null): Rows => {
    const offsets = splitOffsets(splits);
    const rows: Rows = new Map();
    for (const batch of range(0, spec.batch))
      for (const head of range(0, heads))
        for (const row of range(offsets[owner]!, offsets[owner + 1]!))
          rows.set([batch, head, row].join(), salt === null ? 0 : value(batch, head, row, salt));
    return rows;
  };
  const q = rowsOf(spec.qSplits, spec.qHeads, 1);
  const k = rowsOf(spec.kvSplits, spec.kvHeads, 2);
  return { q, k, out: new Map(), dq: new Map(), dk: rowsOf(spec.kvSplits, spec.kvHeads, null) };
}

/** Takes the rank's rows out of the shards, computes unit by unit with row bounds, and puts results back. */
function stepOnRank(plan: Plan, table: RankTable, shards: readonly Shard[]): void {
  const { spec } = plan;
  const unitQ = table.units.map(({ qBegin, qEnd }) => new Array<number>(qEnd - qBegin).fill(NaN));
  const intervalK = table.kvIntervals.map(({ begin, end }) => new Array<number>(end - begin).fill(NaN));
  const intervalDk = table.kvIntervals.map(({ begin, end }) => new Array<number>(end - begin).fill(0));
  const pairs = shards.map((_, owner) => pairSegments(plan, table, owner));
  pairs.forEach(({ q, kv }, owner) => {
    const shard = shards[owner]!;
    for (const { index, batch, head, begin, end } of q)
      for (const row of range(begin, end))
        fillOnce(unitQ[index]!, row - table.units[index]!.qBegin, shard.q.get([batch, head, row].join()));
    for (const { index, batch, head, begin, end } of kv)
      for (const row of range(begin, end))
        fillOnce(
          intervalK[index]!,
          row - table.kvIntervals[index]!.begin,
          shard.k.get([batch, head, row].join()),
        );
  });

  const unitOut = unitQ.map((rows) => rows.map(() => 0));
  const unitDq = unitQ.map((rows) => rows.map(() => 0));
  table.units.forEach(({ batch, qHead, qBegin, qEnd }, unit) => {
    const interval = table.kvIntervalOfUnit[unit]!;
    const bounds = rowBounds(spec, batch, qBegin, qEnd, table.kvIntervals[interval]?.begin ?? 0);
    for (const at of range(0, qEnd - qBegin)) {
      const q = unitQ[unit]![at]!;
      const dout = value(batch, qHead, qBegin + at, 3);
      for (const key of range(bounds[2 * at]!, bounds[2 * at + 1]!)) {
        unitOut[unit]![at]! += q * intervalK[interval]![key]!;
        unitDq[unit]![at]! += dout * intervalK[interval]![key]!;
        intervalDk[interval]![key]! += dout * q;
      }
    }
  });

  pairs.forEach(({ q, kv }, owner) => {
    const shard = shards[owner]!;
    for (const { index, batch, head, begin, end } of q)
      for (const row of range(begin, end)) {
        const name = [batch, head, row].join();
        expect(shard.out.has(name)).toBe(false);
        shard.out.set(name, unitOut[index]![row - table.units[index]!.qBegin]!);
        shard.dq.set(name, unitDq[index]![row - table.units[index]!.qBegin]!);
      }
    for (const { index, batch, head, begin, end } of kv)
      for (const row of range(begin, end)) {
        const name = [batch, head, row].join();
        shard.dk.set(name, shard.dk.get(name)! + intervalDk[index]![row - table.kvIntervals[index]!.begin]!);
      }
  });
}

/** Places one row; a row that its owner does not hold, or that is placed twice, fails. */
function fillOnce(rows: number[], at: number, row: number | undefined): void {
  expect(row).toBeDefined();
  expect(rows[at]).toBeNaN();
  rows[at] = row!;
}

function mergeShards(shards: readonly Shard[]): Record<'out' | 'dq' | 'dk', Rows> {
  const merge = (name: 'out' | 'dq' | 'dk'): Rows => new Map(shards.flatMap((shard) => [...shard[name]]));
  return { out: merge('out'), dq: merge('dq'), dk: merge('dk') };
}

function stepOnOneDevice(spec: StepSpec): Record<'out' | 'dq' | 'dk', Rows> {
  const [sQ, sKv, group] = [sumOf(spec.qSplits), sumOf(spec.kvSplits), spec.qHeads / spec.kvHeads];
  const [out, dq, dk]: [Rows, Rows, Rows] = [new Map(), new Map(), new Map()];
  for (const batch of range(0, spec.batch)) {
    for (const kvHead of range(0, spec.kvHeads))
      for (const key of range(0, sKv)) dk.set([batch, kvHead, key].join(), 0);
    for (const head of range(0, spec.qHeads)) {
      const kvHead = Math.floor(head / group);
      for (const row of range(0, sQ)) {
        const [q, dout] = [value(batch, head, row, 1), value(batch, head, row, 3)];
        const keys = visibleKeys(spec, batch, row);
        const sumK = sumOf(keys.map((key) => value(batch, kvHead, key, 2)));
        out.set([batch, head, row].join(), q * sumK);
        dq.set([batch, head, row].join(), dout * sumK);
        for (const key of keys) {
          const name = [batch, kvHead, key].join();
          dk.set(name, dk.get(name)! + dout * q);
        }
      }
    }
  }
  return { out, dq, dk };
}
