import { describe, expect, test } from 'vitest';
import { createPlan, verifyPlan } from './plan.js';
import { planIdOf } from './plan-id.js';
import type { Mask, Plan, StepSpec } from './spec.js';

const full: Mask = { left: null, right: null, segments: null, validRanges: null };
const spec: StepSpec = {
  dtype: 'f32',
  layout: 'sbhd',
  batch: 1,
  qHeads: 4,
  kvHeads: 2,
  headSize: 64,
  qSplits: [6, 4],
  kvSplits: [5, 5],
  mask: { ...full, left: 6, right: 0 },
  scale: 0.125,
  strategy: 'balanced',
  weights: null,
};
const ranges = (begin: number) => [{ begin, end: 10 }];

test.each<[string, Partial<StepSpec>]>([
  ['dtype', { dtype: 'bf16' }],
  ['layout', { layout: 'bshd' }],
  ['batch', { batch: 2 }],
  ['qHeads', { qHeads: 6 }],
  ['kvHeads', { kvHeads: 1 }],
  ['headSize', { headSize: 65 }],
  ['qSplits', { qSplits: [5, 5] }],
  ['kvSplits', { kvSplits: [6, 4] }],
  ['the number of owners', { qSplits: [6, 4, 0], kvSplits: [5, 5, 0] }],
  ['mask.left', { mask: { ...full, left: 7, right: 0 } }],
  ['mask.left, absent', { mask: { ...full, left: null, right: 0 } }],
  ['mask.right', { mask: { ...full, left: 6, right: 1 } }],
  ['mask.right, absent', { mask: { ...full, left: 6, right: null } }],
  ['mask.segments', { mask: { ...spec.mask, segments: { cuSeqlensQ: [0, 10], cuSeqlensKv: [0, 10] } } }],
  ['cuSeqlensQ', { mask: { ...spec.mask, segments: { cuSeqlensQ: [0, 4, 10], cuSeqlensKv: [0, 5, 10] } } }],
  ['cuSeqlensKv', { mask: { ...spec.mask, segments: { cuSeqlensQ: [0, 5, 10], cuSeqlensKv: [0, 4, 10] } } }],
  ['mask.validRanges', { mask: { ...spec.mask, validRanges: { q: ranges(0), kv: ranges(0) } } }],
  ['validRanges.q', { mask: { ...spec.mask, validRanges: { q: ranges(1), kv: ranges(0) } } }],
  ['validRanges.kv', { mask: { ...spec.mask, validRanges: { q: ranges(0), kv: ranges(1) } } }],
  ['scale', { scale: Math.fround(0.1) }],
  ['strategy', { strategy: 'heads' }],
  ['weights', { weights: [1, 1, 1] }],
  ['weights, other ones', { weights: [1, 1, 2] }],
])('another %s gives another plan id, even with the same cuts', (_, changes) => {
  const cuts = [0, 10, 20, 40];
  const ids = new Set([planIdOf(spec, 3, cuts), planIdOf({ ...spec, ...changes }, 3, cuts)]);
  expect(ids.size).toBe(2);
});

test('every field of the spec is in the test above', () => {
  const fields = Object.keys(spec).sort();
  const varied = ['dtype', 'layout', 'batch', 'qHeads', 'kvHeads', 'headSize', 'qSplits', 'kvSplits', 'mask'];
  expect(fields).toEqual([...varied, 'scale', 'strategy', 'weights'].sort());
});

test('other cuts, or another cp_size, give another plan id', () => {
  const ids = new Set([
    planIdOf(spec, 3, [0, 10, 20, 40]),
    planIdOf(spec, 3, [0, 10, 21, 40]),
    planIdOf(spec, 4, [0, 10, 20, 40]),
    planIdOf(spec, 4, [0, 10, 20, 40, 40]),
  ]);
  expect(ids.size).toBe(4);
});

test('a plan that travelled as JSON is accepted', () => {
  expect(() => {
    verifyPlan(JSON.parse(JSON.stringify(createPlan(spec, 3))) as Plan);
  }).not.toThrow();
});

describe('a rank refuses', () => {
  const plan = createPlan(spec, 3);
  const headsPlan = createPlan({ ...spec, strategy: 'heads' }, 3);
  const signed = (changed: Plan): Plan => ({
    ...changed,
    planId: planIdOf(changed.spec, changed.cpSize, changed.cuts),
  });

  test.each<[string, Plan, string]>([
    ['an id that is not that of spec and cuts', { ...plan, planId: headsPlan.planId }, 'planId'],
    ['a spec that was changed', { ...plan, spec: { ...spec, scale: 0.25 } }, 'planId'],
    ['a spec that cannot be planned', signed({ ...plan, spec: { ...spec, headSize: 0 } }), 'headSize'],
    ['too few cuts', signed({ ...plan, cuts: [0, 10, 40] }), 'cuts'],
    ['cuts that do not begin at 0', signed({ ...plan, cuts: [1, 10, 20, 40] }), 'cuts[0]'],
    ['cuts that do not reach the end', signed({ ...plan, cuts: [0, 10, 20, 39] }), 'cuts[3]'],
    ['cuts that go past the end', signed({ ...plan, cuts: [0, 10, 20, 41] }), 'cuts[3]'],
    ['cuts that descend', signed({ ...plan, cuts: [0, 20, 10, 40] }), 'cuts[2]'],
    ['cuts between rows', signed({ ...plan, cuts: [0, 10.5, 20, 40] }), 'cuts[1]'],
    ['whole heads with cuts inside a head', signed({ ...headsPlan, cuts: [0, 19, 30, 40] }), 'cuts[1]'],
    ['whole heads cut elsewhere than agreed', signed({ ...headsPlan, cuts: [0, 10, 30, 40] }), 'cuts[1]'],
  ])('%s', (_, wrong, field) => {
    expect(() => {
      verifyPlan(wrong);
    }).toThrow(
      expect.objectContaining({
        code: 'PLAN_INVALID',
        details: expect.objectContaining({ field }) as object,
      }),
    );
  });
});
