import { expect, test } from 'vitest';
import { createPlan } from './plan.js';
import { selfCheck } from './self-check.js';
import type { Plan, StepSpec } from './spec.js';

const spec: StepSpec = {
  dtype: 'f32',
  layout: 'sbhd',
  batch: 2,
  qHeads: 4,
  kvHeads: 2,
  headSize: 8,
  qSplits: [3, 4],
  kvSplits: [7, 0],
  mask: { left: null, right: 0, segments: null, validRanges: null },
  scale: 1,
  strategy: 'balanced',
  weights: null,
};
const plan = createPlan(spec, 3);
const length = plan.cuts.at(-1)!;

test('a plan as it was made passes', () => {
  expect(() => {
    selfCheck(plan);
  }).not.toThrow();
});

test.each<[string, Plan]>([
  [
    'rows at the end of the line that nobody computes',
    { ...plan, cuts: [...plan.cuts.slice(0, -1), length - 1] },
  ],
  ['rows at its begin that nobody computes', { ...plan, cuts: [1, ...plan.cuts.slice(1)] }],
  ['rows that two ranks compute', { ...plan, cuts: [0, 30, 20, length] }],
  ['a cut between rows', { ...plan, cuts: [0, 10.5, 20, length] }],
])('%s are our own bug, and said so', (_, broken) => {
  expect(() => {
    selfCheck(broken);
  }).toThrow(expect.objectContaining({ code: 'INVARIANT' }));
});
