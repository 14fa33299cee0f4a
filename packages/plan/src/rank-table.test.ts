import { expect, test } from 'vitest';
import { pairSegments } from './pair-segments.js';
import { planIdOf } from './plan-id.js';
import { verifyPlan } from './plan.js';
import { rankTable } from './rank-table.js';
import { rowBounds } from './row-bounds.js';
import type { Mask, Plan, StepSpec } from './spec.js';

const full: Mask = { left: null, right: null, segments: null, validRanges: null };

/** Two heads of 10 rows that share one KV head, cut where the test says. */
function planOf(cuts: readonly number[], changes: Partial<StepSpec> = {}): Plan {
  const spec: StepSpec = {
    dtype: 'f32',
    layout: 'sbhd',
    batch: 1,
    qHeads: 2,
    kvHeads: 1,
    headSize: 4,
    qSplits: [4, 0, 6],
    kvSplits: [3, 7, 0],
    mask: { ...full, left: 1, right: 0 },
    scale: 0.5,
    strategy: 'balanced',
    weights: null,
    ...changes,
  };
  const plan = { planId: planIdOf(spec, cuts.length - 1, cuts), cpSize: cuts.length - 1, spec, cuts };
  verifyPlan(plan);
  return plan;
}

const unit = (qHead: number, qBegin: number, qEnd: number) => ({ batch: 0, qHead, qBegin, qEnd });
const interval = (begin: number, end: number) => ({ batch: 0, kvHead: 0, begin, end });

// Row i sees keys i - 1 and i.
test('keys of two heads that overlap are one interval, which both units read', () => {
  expect(rankTable(planOf([0, 3, 13, 20]), 1)).toEqual({
    rank: 1,
    units: [unit(0, 3, 10), unit(1, 0, 3)],
    kvIntervals: [interval(0, 10)],
    kvIntervalOfUnit: [0, 0],
  });
});

test('keys that only touch are one interval too', () => {
  const plan = planOf([0, 5, 15, 20], { mask: { ...full, left: 0, right: 0 } });
  expect(rankTable(plan, 1).kvIntervals).toEqual([interval(0, 10)]);
});

test('keys that do not touch are intervals of their own, numbered by the first unit that reads them', () => {
  expect(rankTable(planOf([0, 7, 12, 20]), 1)).toEqual({
    rank: 1,
    units: [unit(0, 7, 10), unit(1, 0, 2)],
    kvIntervals: [interval(6, 10), interval(0, 2)],
    kvIntervalOfUnit: [0, 1],
  });
});

// Segment 0: 4 rows and 3 keys. Segment 1: 6 rows and 7 keys, of which row 4, its first, sees keys 4 and 3.
test('rows whose keys would have a gap are two units', () => {
  const segments = { cuSeqlensQ: [0, 4, 10], cuSeqlensKv: [0, 3, 10] };
  const table = rankTable(planOf([0, 20], { mask: { ...full, left: 0, right: 0, segments } }), 0);
  expect(table.units).toEqual([unit(0, 0, 4), unit(0, 4, 10), unit(1, 0, 4), unit(1, 4, 10)]);
  expect(table.kvIntervals).toEqual([interval(0, 3), interval(4, 10)]);
  expect(table.kvIntervalOfUnit).toEqual([0, 1, 0, 1]);
});

test('rows that see nothing are a unit without an interval', () => {
  const validRanges = { q: [{ begin: 6, end: 10 }], kv: [{ begin: 6, end: 10 }] };
  const table = rankTable(planOf([0, 6, 20], { mask: { ...full, validRanges } }), 0);
  expect(table).toEqual({ rank: 0, units: [unit(0, 0, 6)], kvIntervals: [], kvIntervalOfUnit: [-1] });
});

test('a rank between equal cuts has nothing, also inside a head', () => {
  expect(rankTable(planOf([0, 5, 5, 20]), 1)).toEqual({
    rank: 1,
    units: [],
    kvIntervals: [],
    kvIntervalOfUnit: [],
  });
});

test("segments are a rank's units and intervals as far as the owner has their rows; empty ones are left out", () => {
  const plan = planOf([0, 7, 13, 20]);
  const table = rankTable(plan, 1);
  const segment = (index: number, head: number, begin: number, end: number) => ({
    index,
    batch: 0,
    head,
    begin,
    end,
  });
  expect(table.kvIntervals).toEqual([interval(6, 10), interval(0, 3)]);
  // Owner 0 has query rows 0 to 3 and keys 0 to 2, owner 1 no query rows and keys 3 to 9, owner 2 query rows 4 to 9.
  expect(pairSegments(plan, table, 0)).toEqual({ q: [segment(1, 1, 0, 3)], kv: [segment(1, 0, 0, 3)] });
  expect(pairSegments(plan, table, 1)).toEqual({ q: [], kv: [segment(0, 0, 6, 10)] });
  expect(pairSegments(plan, table, 2)).toEqual({ q: [segment(0, 0, 7, 10)], kv: [] });
});

test('ranks and owners outside the plan are refused', () => {
  const plan = planOf([0, 20]);
  for (const outside of [-1, 1, 0.5, NaN]) {
    expect(() => rankTable(plan, outside)).toThrow('a rank outside the plan');
  }
  for (const outside of [-1, 3, 0.5, NaN]) {
    expect(() => pairSegments(plan, rankTable(plan, 0), outside)).toThrow('an owner outside the plan');
  }
});

test('row bounds count from the first key of the interval', () => {
  const { spec } = planOf([0, 20]);
  expect([...rowBounds(spec, 0, 7, 10, 6)]).toEqual([0, 2, 1, 3, 2, 4]);
  expect([...rowBounds(spec, 0, 0, 2, 0)]).toEqual([0, 1, 0, 2]);
});

test('row bounds refuse a first key after what a row sees', () => {
  const { spec } = planOf([0, 20]);
  expect(() => rowBounds(spec, 0, 7, 10, 7)).toThrow(expect.objectContaining({ code: 'INVARIANT' }));
});
