import type { Mask } from '@ulysses/plan';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep } from '../support/cluster-step.js';
import { RELATIVE } from '../support/error-bound.js';
import { expectWithinBound, referenceOf } from '../support/expect-attention.js';
import { visibleBy } from '../support/reference-mask.js';
import { stepInputs } from '../support/step-inputs.js';
import { rounded, type TensorForm } from '../support/tensor-forms.js';

/** Results are rounded once to the dtype that travels: |x - ref| <= this |ref| + C * EPSILON * |B|. */
const RELATIVE_OF = { f32: RELATIVE, bf16: 3e-3, f16: 5e-4 };

const NONE: Mask = { left: null, right: null, segments: null, validRanges: null };
const range = (begin: number, end: number) => ({ begin, end });
const segments = (...cuSeqlens: number[]) => ({ cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens });

interface FormCase {
  readonly title: string;
  readonly form: TensorForm;
  readonly mask: Mask;
  readonly batch: number;
  readonly splits: readonly number[];
  readonly kvSplits?: readonly number[];
}

const CASES: readonly FormCase[] = [
  {
    title: 'bf16, causal',
    form: { dtype: 'bf16', layout: 'sbhd' },
    mask: { ...NONE, right: 0 },
    batch: 2,
    splits: [70, 57],
  },
  {
    title: 'f16, [b, s, h, d], full',
    form: { dtype: 'f16', layout: 'bshd' },
    mask: NONE,
    batch: 3,
    splits: [40, 0, 31],
  },
  {
    title: 'f32, packed causal with an empty segment',
    form: { dtype: 'f32', layout: 'thd' },
    mask: { ...NONE, right: 0, segments: segments(0, 90, 107, 107, 108, 151) },
    batch: 1,
    splits: [100, 51],
  },
  {
    title: 'bf16, packed, window to the left',
    form: { dtype: 'bf16', layout: 'thd' },
    mask: { ...NONE, left: 13, right: 0, segments: segments(0, 33, 128) },
    batch: 1,
    splits: [128],
  },
  {
    title: 'f32, window to both sides',
    form: { dtype: 'f32', layout: 'sbhd' },
    mask: { ...NONE, left: 9, right: 4 },
    batch: 2,
    splits: [31, 31, 29],
  },
  {
    title: 'f16, left and right padding, causal',
    form: { dtype: 'f16', layout: 'bshd' },
    mask: {
      ...NONE,
      right: 0,
      validRanges: { q: [range(0, 64), range(20, 81)], kv: [range(0, 64), range(20, 81)] },
    },
    batch: 2,
    splits: [41, 40],
  },
  {
    title: 'f32, more keys than queries, causal from the bottom right',
    form: { dtype: 'f32', layout: 'sbhd' },
    mask: { ...NONE, right: 0 },
    batch: 1,
    splits: [20, 17],
    kvSplits: [50, 61],
  },
  {
    title: 'bf16, more queries than keys: some rows see nothing',
    form: { dtype: 'bf16', layout: 'bshd' },
    mask: { ...NONE, right: 0 },
    batch: 2,
    splits: [60, 41],
    kvSplits: [30, 30],
  },
];

describe('out, LSE, dq, dk and dv agree with the float64 reference', () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startCluster({ cpSize: 4 });
  });
  afterAll(async () => {
    await cluster.stop();
  });

  it.each(CASES.map((testCase) => [testCase.title, testCase] as const))('%s', async (_title, testCase) => {
    const { form, mask, batch, splits, kvSplits = splits } = testCase;
    const [rows, keys] = [sum(splits), sum(kvSplits)];
    const shape = { rows, keys, batch, qHeads: 6, kvHeads: 2, headSize: 40 };
    const { q, k, v, dout } = stepInputs(shape, rows);
    const inputs = {
      q: rounded(q, form.dtype),
      k: rounded(k, form.dtype),
      v: rounded(v, form.dtype),
      dout: rounded(dout, form.dtype),
    };
    const step = { address: cluster.address, splits, kvSplits, form, attention: { mask } };
    const actual = await runStep(step, inputs);
    expectWithinBound(actual, referenceOf(inputs, visibleBy(mask, rows, keys)), RELATIVE_OF[form.dtype]);
  });
});

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
