import { expect, test } from 'vitest';
import { explainPlan } from './explain.js';
import { createPlan } from './plan.js';
import type { StepSpec } from './spec.js';

const spec: StepSpec = {
  dtype: 'bf16',
  layout: 'sbhd',
  batch: 1,
  qHeads: 3,
  kvHeads: 1,
  headSize: 8,
  qSplits: [4, 2],
  kvSplits: [4, 2],
  mask: { left: null, right: null, segments: null, validRanges: null },
  scale: 0.125,
  strategy: 'balanced',
  weights: null,
};

// 3 heads of 6 rows on 2 ranks: rank 0 has head 0 and rows 0 to 2 of head 1, rank 1 the rest. A bf16 row is 16 bytes.
//            q rows of rank 0    of rank 1      k rows
//   owner 0  4 + 3 = 7           1 + 4 = 5      4 each
//   owner 1  2 + 0 = 2           2 + 2 = 4      2 each
test('bytes between every owner and rank are exact, with lse, dk and dv in float32', () => {
  const { forward, backward } = explainPlan(createPlan(spec, 2));
  const forwardBytes = (qRows: number, kvRows: number) => {
    const [q, k] = [qRows * 16, kvRows * 16];
    return { pass: 'forward', q, k, v: k, out: q, lse: qRows * 4 };
  };
  const backwardBytes = (qRows: number, kvRows: number) => {
    const [dq, dk] = [qRows * 16, kvRows * 32];
    return { pass: 'backward', q: 0, k: 0, v: 0, dout: dq, dq, dk, dv: dk };
  };
  expect(forward.pairs).toEqual([
    [forwardBytes(7, 4), forwardBytes(5, 4)],
    [forwardBytes(2, 2), forwardBytes(4, 2)],
  ]);
  expect(backward.pairs).toEqual([
    [backwardBytes(7, 4), backwardBytes(5, 4)],
    [backwardBytes(2, 2), backwardBytes(4, 2)],
  ]);
  expect([forward.ownersToRanks, forward.ranksToOwners]).toEqual([18 * 16 + 2 * 12 * 16, 18 * 16 + 18 * 4]);
  expect([backward.ownersToRanks, backward.ranksToOwners]).toEqual([18 * 16, 18 * 16 + 2 * 12 * 32]);
});

test('each rank reports its work, heads and memory', () => {
  const { ranks, balance, flops } = explainPlan(createPlan(spec, 2));
  const cost = { units: 2, rows: 9, heads: 1.5, kvRows: 6, work: 54, workOverShare: 1 };
  const forwardBytes = 9 * (16 + 16 + 4) + 6 * (16 + 16);
  const storeBytes = { none: forwardBytes, half: forwardBytes - 6 * 16, full: forwardBytes - 2 * 6 * 16 };
  const bytes = { forwardBytes, backwardBytes: 9 * 32 + 6 * 64, storeBytes };
  expect(ranks).toEqual([
    { rank: 0, ...cost, ...bytes },
    { rank: 1, ...cost, ...bytes },
  ]);
  expect(balance).toBe(1);
  expect(flops).toEqual({ forward: 4 * 8 * 108, backward: 10 * 8 * 108 });
});

test('KV duplication is rows sent over rows that somebody sees', () => {
  expect(explainPlan(createPlan(spec, 2)).kvDuplication).toEqual({ rowsSent: 12, rowsNeeded: 6, factor: 2 });
  expect(explainPlan(createPlan(spec, 1)).kvDuplication).toEqual({ rowsSent: 6, rowsNeeded: 6, factor: 1 });
});

test('keys that nobody sees are neither sent nor needed', () => {
  // Second segment: 2 queries, 10 keys, a window of 2: its first 6 keys are seen by nobody.
  const segments = { cuSeqlensQ: [0, 4, 6], cuSeqlensKv: [0, 4, 14] };
  const mask = { left: 2, right: 0, segments, validRanges: null };
  const plan = createPlan({ ...spec, layout: 'thd', qHeads: 1, kvSplits: [7, 7], mask }, 1);
  expect(explainPlan(plan).kvDuplication).toEqual({ rowsSent: 4 + 4, rowsNeeded: 8, factor: 1 });
});

test('legal aligned sizes divide rows and heads', () => {
  expect(explainPlan(createPlan(spec, 2)).alignedSizes).toEqual([3]);
});

test('a plan in which nothing is visible has no work and no KV rows', () => {
  const validRanges = { q: [{ begin: 2, end: 2 }], kv: [{ begin: 0, end: 6 }] };
  const report = explainPlan(createPlan({ ...spec, mask: { ...spec.mask, validRanges } }, 2));
  expect(report.kvDuplication).toEqual({ rowsSent: 0, rowsNeeded: 0, factor: 1 });
  expect(report.ranks.map(({ work, workOverShare }) => [work, workOverShare])).toEqual([
    [0, 0],
    [0, 0],
  ]);
});
