import { expect, test } from 'vitest';
import { checkSpec } from './check-spec.js';
import type { Mask, StepSpec } from './spec.js';

const full: Mask = { left: null, right: null, segments: null, validRanges: null };
const spec: StepSpec = {
  dtype: 'f32',
  layout: 'sbhd',
  batch: 2,
  qHeads: 6,
  kvHeads: 3,
  headSize: 64,
  qSplits: [5, 5],
  kvSplits: [4, 6],
  mask: full,
  scale: 0.125,
  strategy: 'balanced',
  weights: null,
};

const segments = (cuSeqlensQ: number[], cuSeqlensKv: number[]) => ({
  batch: 1,
  mask: { ...full, segments: { cuSeqlensQ, cuSeqlensKv } },
});
const range = (begin: number, end: number) => ({ begin, end });
const ranges = (q: [number, number][], kv: [number, number][]) => ({
  mask: {
    ...full,
    validRanges: { q: q.map((pair) => range(...pair)), kv: kv.map((pair) => range(...pair)) },
  },
});

test.each<[string, Partial<StepSpec>]>([
  ['the base', {}],
  ['a zero-length shard', { qSplits: [10, 0], kvSplits: [0, 10] }],
  ['segments with a zero-length sample', segments([0, 3, 3, 10], [0, 3, 5, 10])],
  ['other segment lengths for keys', segments([0, 10], [0, 10])],
  ['valid ranges, one of them empty', ranges([[0, 10], [4, 4]], [[2, 10], [10, 10]])], // prettier-ignore
  ['weights, one of them 0', { weights: [1, 0, 2.5] }],
  ['the largest head size', { headSize: 256 }],
  ['a window', { mask: { ...full, left: 0, right: 1000 } }],
])('%s can be planned', (_, changes) => {
  expect(() => {
    checkSpec({ ...spec, ...changes }, 3);
  }).not.toThrow();
});

test.each<[field: string, code: string, changes: object]>([
  ['dtype', 'UNSUPPORTED', { dtype: 'f64' }],
  ['layout', 'UNSUPPORTED', { layout: 'bhsd' }],
  ['strategy', 'UNSUPPORTED', { strategy: 'rows' }],
  ['batch', 'SHAPE_MISMATCH', { batch: 0 }],
  ['batch', 'SHAPE_MISMATCH', { batch: 1.5 }],
  ['batch', 'SHAPE_MISMATCH', { layout: 'thd' }],
  ['qHeads', 'SHAPE_MISMATCH', { qHeads: 0 }],
  ['kvHeads', 'SHAPE_MISMATCH', { kvHeads: 4 }],
  ['kvHeads', 'SHAPE_MISMATCH', { kvHeads: 12 }],
  ['headSize', 'UNSUPPORTED', { headSize: 0 }],
  ['headSize', 'UNSUPPORTED', { headSize: 257 }],
  ['qSplits[1]', 'SHAPE_MISMATCH', { qSplits: [11, -1] }],
  ['qSplits[0]', 'SHAPE_MISMATCH', { qSplits: [2.5, 7.5] }],
  ['qSplits', 'SHAPE_MISMATCH', { qSplits: [0, 0] }],
  ['kvSplits', 'SHAPE_MISMATCH', { kvSplits: [0, 0] }],
  ['kvSplits', 'SHAPE_MISMATCH', { kvSplits: [2 ** 31 - 1, 1] }],
  ['kvSplits', 'SHAPE_MISMATCH', { kvSplits: [10] }],
  ['qSplits', 'SHAPE_MISMATCH', { qSplits: [] }],
  ['qHeads', 'SHAPE_MISMATCH', { qHeads: 2 ** 32 - 1, kvHeads: 1 }],
  ['qHeads', 'SHAPE_MISMATCH', { qHeads: 6, batch: 2 ** 16 }],
  ['scale', 'SHAPE_MISMATCH', { scale: 0.1 }],
  ['scale', 'SHAPE_MISMATCH', { scale: NaN }],
  ['scale', 'SHAPE_MISMATCH', { scale: -0 }],
  ['weights', 'SHAPE_MISMATCH', { weights: [1, 1] }],
  ['weights', 'SHAPE_MISMATCH', { weights: [0, 0, 0] }],
  ['weights', 'SHAPE_MISMATCH', { weights: [1, -1, 1] }],
  ['weights', 'SHAPE_MISMATCH', { weights: [1, NaN, 1] }],
  ['weights', 'SHAPE_MISMATCH', { weights: [1, -0, 1] }],
  ['weights', 'SHAPE_MISMATCH', { weights: [1, Infinity, 1] }],
  ['weights', 'UNSUPPORTED', { weights: [1, 1, 1], strategy: 'heads' }],
  ['mask.left', 'SHAPE_MISMATCH', { mask: { ...full, left: -1 } }],
  ['mask.right', 'SHAPE_MISMATCH', { mask: { ...full, right: 0.5 } }],
  ['batch', 'SHAPE_MISMATCH', { ...segments([0, 10], [0, 10]), batch: 2 }],
  ['mask.validRanges', 'SHAPE_MISMATCH', { ...segments([0, 10], [0, 10]), mask: both() }],
  ['mask.segments.cuSeqlensQ', 'SHAPE_MISMATCH', segments([0], [0, 10])],
  ['mask.segments.cuSeqlensQ[0]', 'SHAPE_MISMATCH', segments([1, 10], [0, 10])],
  ['mask.segments.cuSeqlensQ[2]', 'SHAPE_MISMATCH', segments([0, 7, 6, 10], [0, 7, 7, 10])],
  ['mask.segments.cuSeqlensKv[1]', 'SHAPE_MISMATCH', segments([0, 10], [0, 9])],
  ['mask.segments.cuSeqlensQ[2]', 'SHAPE_MISMATCH', segments([0, 10, 11], [0, 9, 10])],
  ['mask.segments.cuSeqlensKv', 'SHAPE_MISMATCH', segments([0, 10], [0, 5, 10])],
  ['mask.validRanges.q', 'SHAPE_MISMATCH', ranges([[0, 10]], [[0, 10], [0, 10]])], // prettier-ignore
  ['mask.validRanges.kv[1].end', 'SHAPE_MISMATCH', ranges([[0, 10], [0, 10]], [[0, 10], [0, 11]])], // prettier-ignore
  ['mask.validRanges.q[0].end', 'SHAPE_MISMATCH', ranges([[6, 5], [0, 10]], [[0, 10], [0, 10]])], // prettier-ignore
  ['mask.validRanges.q[1].begin', 'SHAPE_MISMATCH', ranges([[0, 5], [-1, 10]], [[0, 10], [0, 10]])], // prettier-ignore
])('a wrong %s is refused by name with %s: %j', (field, code, changes) => {
  expect(() => {
    checkSpec({ ...spec, ...changes }, 3);
  }).toThrow(expect.objectContaining({ code, details: expect.objectContaining({ field }) as object }));
});

test.each([0, -1, 2.5, NaN])('a cp_size of %f is refused', (cpSize) => {
  expect(() => {
    checkSpec(spec, cpSize);
  }).toThrow('cpSize');
});

function both(): Mask {
  return {
    ...full,
    segments: { cuSeqlensQ: [0, 10], cuSeqlensKv: [0, 10] },
    validRanges: { q: [range(0, 10)], kv: [range(0, 10)] },
  };
}
