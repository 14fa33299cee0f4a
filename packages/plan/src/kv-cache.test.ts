import { expect, test } from 'vitest';
import { explainPlan } from './explain.js';
import { carriedTensors, chooseKvCachePolicy, keptBytes } from './kv-cache.js';
import { createPlan } from './plan.js';
import { rankTables } from './rank-table.js';
import type { Plan, StepSpec } from './spec.js';

function planOf(qHeads: number, kvHeads: number): Plan {
  const spec: StepSpec = {
    dtype: 'bf16',
    layout: 'sbhd',
    batch: 1,
    qHeads,
    kvHeads,
    headSize: 8,
    qSplits: [5, 5, 5, 5],
    kvSplits: [5, 5, 5, 5],
    mask: { left: null, right: null, segments: null, validRanges: null },
    scale: 0.125,
    strategy: 'heads',
    weights: null,
  };
  return createPlan(spec, 4);
}

// 8 q heads / 2 kv heads on 4 ranks: 2 q heads of 20 rows each, and one KV head, which another rank reads too. A row is 16 bytes.
const PLAN = planOf(8, 2);
const WITHOUT_KV = 40 * (16 + 16 + 4);
const ONE_OF_KV = 20 * 16;

test('a rank keeps q, out, lse and K and V with policy none, one of them with half, neither with full', () => {
  for (const table of rankTables(PLAN)) {
    expect(keptBytes(PLAN.spec, table, 'none')).toBe(WITHOUT_KV + 2 * ONE_OF_KV);
    expect(keptBytes(PLAN.spec, table, 'half')).toBe(WITHOUT_KV + ONE_OF_KV);
    expect(keptBytes(PLAN.spec, table, 'full')).toBe(WITHOUT_KV);
  }
});

test('auto is the first policy with which no rank keeps more than the budget, and full when none fits', () => {
  const none = WITHOUT_KV + 2 * ONE_OF_KV;
  expect(chooseKvCachePolicy(PLAN, none)).toBe('none');
  expect(chooseKvCachePolicy(PLAN, none - 1)).toBe('half');
  expect(chooseKvCachePolicy(PLAN, none - ONE_OF_KV)).toBe('half');
  expect(chooseKvCachePolicy(PLAN, none - ONE_OF_KV - 1)).toBe('full');
  expect(chooseKvCachePolicy(PLAN, 0)).toBe('full');
});

test('auto looks at the rank that keeps most', () => {
  // 3 q heads on 2 ranks: one rank has two of them.
  const plan = createPlan({ ...PLAN.spec, qHeads: 3, kvHeads: 1, strategy: 'heads' }, 2);
  const [most, least] = rankTables(plan).map((table) => keptBytes(plan.spec, table, 'none'));
  expect(most).toBeGreaterThan(least!);
  expect(chooseKvCachePolicy(plan, most!)).toBe('none');
  expect(chooseKvCachePolicy(plan, least!)).not.toBe('none');
});

test('backward carries what was not kept', () => {
  expect(carriedTensors('store', 'none')).toEqual([]);
  expect(carriedTensors('store', 'half')).toEqual(['k']);
  expect(carriedTensors('store', 'full')).toEqual(['k', 'v']);
  for (const policy of ['none', 'half', 'full'] as const) {
    expect(carriedTensors('recompute', policy)).toEqual(['q', 'k', 'v']);
  }
});

test('policies save what KV duplication cost, and nothing without it', () => {
  const shardBytes = 2 * 20 * 16;
  expect(explainPlan(PLAN).kvCache).toEqual({
    shardBytes,
    gatheredBytes: 4 * ONE_OF_KV,
    savedBytes: 4 * ONE_OF_KV - shardBytes,
  });
  expect(explainPlan(planOf(8, 4)).kvCache.savedBytes).toBe(0);
  expect(explainPlan(planOf(8, 8)).kvCache.savedBytes).toBe(0);
});
