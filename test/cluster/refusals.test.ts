import {
  connect,
  UlyssesContextAttention,
  type AttentionOptions,
  type Cluster,
  type CallOptions,
  type TensorView,
} from '@ulysses/client';
import { UlyssesError, type ErrorCode } from '@ulysses/errors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { stepInputs } from '../support/step-inputs.js';

const SHAPE = { rows: 12, batch: 2, qHeads: 4, kvHeads: 2, headSize: 8 };
const { q, k, v, dout } = stepInputs(SHAPE, 3);

let cluster: TestCluster;
let connection: Cluster;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: 3 });
  connection = await connect({ address: cluster.address, deadlineMs: 10_000 });
});
afterAll(async () => {
  await connection.close();
  await cluster.stop();
});

interface BadCall {
  readonly title: string;
  readonly options?: AttentionOptions;
  readonly call?: CallOptions;
  readonly tensors?: readonly [TensorView, TensorView, TensorView];
  readonly code: ErrorCode;
  readonly field: string;
  /** Part of the value as the message shows it. */
  readonly value: string;
  /** Part of what is accepted. */
  readonly accepted: string;
}

const range = (begin: number, end: number) => ({ begin, end });
const tensorsOf = (change: Partial<typeof SHAPE>): readonly [TensorView, TensorView, TensorView] => {
  const inputs = stepInputs({ ...SHAPE, ...change }, 3);
  return [inputs.q, inputs.k, inputs.v];
};
/** A view whose declared dtype and data do not come from a compiler. */
const typed = (dtype: string): TensorView => ({ ...q, dtype: dtype as TensorView['dtype'] });
const untyped = (options: object): AttentionOptions => options;
const packed = tensorsOf({ batch: 1 });
const segments = (...cuSeqlens: number[]) => ({
  mask: { segments: { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens } },
});
/** [b, 1, s, s] that no band, segment or range says: every row sees every other key. */
const checkered = Uint8Array.from({ length: 2 * 12 * 12 }, (_, i) => i % 2);

const BAD_CALLS: readonly BadCall[] = [
  {
    title: 'dropout',
    options: { dropout: 0.1 },
    code: 'UNSUPPORTED',
    field: 'dropout',
    value: '0.1',
    accepted: '0 or absent',
  },
  {
    title: 'a dense bias',
    options: { bias: q },
    code: 'UNSUPPORTED',
    field: 'bias',
    value: 'a tensor',
    accepted: 'absent',
  },
  {
    title: 'a keep mode that there is not',
    options: untyped({ keep: 'always' }),
    code: 'UNSUPPORTED',
    field: 'keep',
    value: 'always',
    accepted: 'one of store, recompute, none',
  },
  {
    title: 'a KV-cache policy that there is not',
    options: untyped({ kvCachePolicy: 'most' }),
    code: 'UNSUPPORTED',
    field: 'kvCachePolicy',
    value: 'most',
    accepted: 'one of none, half, full, auto',
  },
  {
    title: 'a byte budget that is no size',
    options: { kvCachePolicy: 'auto', kvCacheBudgetBytes: -1 },
    code: 'SHAPE_MISMATCH',
    field: 'kvCacheBudgetBytes',
    value: '-1',
    accepted: 'an integer of at least 0',
  },
  {
    title: 'an option that there is not',
    options: untyped({ slidingWindow: 4 }),
    code: 'UNSUPPORTED',
    field: 'slidingWindow',
    value: 'number',
    accepted: 'one of the options gatherSizeCalculator, causal, mask',
  },
  {
    title: 'd above 256',
    tensors: tensorsOf({ headSize: 257 }),
    code: 'UNSUPPORTED',
    field: 'headSize',
    value: '257',
    accepted: 'from 1 to 256',
  },
  {
    title: 'q heads that are no multiple of the KV heads',
    tensors: tensorsOf({ kvHeads: 3 }),
    code: 'SHAPE_MISMATCH',
    field: 'kvHeads',
    value: '3',
    accepted: 'a divisor of qHeads, which is 4',
  },
  {
    title: 'an unknown dtype',
    tensors: [typed('f64'), k, v],
    code: 'UNSUPPORTED',
    field: 'q.dtype',
    value: 'f64',
    accepted: 'one of f32, bf16, f16',
  },
  {
    title: 'an unknown strategy',
    options: untyped({ strategy: 'rings' }),
    code: 'UNSUPPORTED',
    field: 'strategy',
    value: 'rings',
    accepted: 'one of heads, balanced',
  },
  {
    title: 'two ranges for one sample, overlapping or not',
    tensors: packed,
    options: { mask: { validRanges: { q: [range(0, 8), range(6, 12)], kv: [range(0, 8), range(6, 12)] } } },
    code: 'SHAPE_MISMATCH',
    field: 'mask.validRanges.q',
    value: '[{"begin":0,"end":8},{"begin":6,"end":12}]',
    accepted: 'one range per sample, 1',
  },
  {
    title: 'a range that ends before it begins',
    options: { mask: { validRanges: { q: [range(0, 12), range(9, 4)], kv: [range(0, 12), range(0, 12)] } } },
    code: 'SHAPE_MISMATCH',
    field: 'mask.validRanges.q[1].end',
    value: '4',
    accepted: 'from 9 to 12',
  },
  {
    title: 'cu_seqlens that decrease',
    tensors: packed,
    options: segments(0, 8, 5, 12),
    code: 'SHAPE_MISMATCH',
    field: 'mask.segments.cuSeqlensQ[2]',
    value: '5',
    accepted: 'of at least 8',
  },
  {
    title: 'cu_seqlens that end before the rows do',
    tensors: packed,
    options: segments(0, 8, 11),
    code: 'SHAPE_MISMATCH',
    field: 'mask.segments.cuSeqlensQ[2]',
    value: '11',
    accepted: '12, the sum of the splits',
  },
  {
    title: 'segments in a batch of two',
    options: segments(0, 8, 12),
    code: 'SHAPE_MISMATCH',
    field: 'batch',
    value: '2',
    accepted: '1, because mask.segments is given',
  },
  {
    title: 'a negative window',
    options: { mask: { left: -1 } },
    code: 'SHAPE_MISMATCH',
    field: 'left',
    value: '-1',
    accepted: '0',
  },
  {
    title: 'a scale that is no number',
    options: { scale: NaN },
    code: 'SHAPE_MISMATCH',
    field: 'scale',
    value: 'NaN',
    accepted: 'a finite float32',
  },
  {
    title: 'a boolean mask that the algebra cannot say',
    call: { attentionMask: { visible: checkered, shape: [2, 1, 12, 12] } },
    code: 'UNSUPPORTED',
    field: 'attention_mask',
    value: 'sample 0, row 0 sees key 3 but not key 2',
    accepted: 'a band around the diagonal',
  },
  {
    title: 'a length beyond the rows',
    call: { attentionMaskLengths: [13, 2] },
    code: 'SHAPE_MISMATCH',
    field: 'gather size of DynamicGatherSizeCalculator for tensor q',
    value: '13',
    accepted: 'from 1 to 12',
  },
];

async function failureOf(call: () => Promise<unknown>): Promise<UlyssesError> {
  try {
    await call();
  } catch (error) {
    if (error instanceof UlyssesError) return error;
    throw error;
  }
  throw new Error('the call was accepted');
}

describe('what cannot be done is refused with field, value and what is accepted', () => {
  it.each(BAD_CALLS.map((bad) => [bad.title, bad] as const))('%s', async (_title, bad) => {
    const { options = {}, call = {}, tensors = [q, k, v] } = bad;
    const error = await failureOf(async () => {
      await new UlyssesContextAttention(null, connection, options).forward(...tensors, call);
    });
    expect(error.code, error.message).toBe(bad.code);
    expect(error.details.field).toContain(bad.field);
    expect(String(error.details.value)).toContain(bad.value);
    expect(error.details.expected).toContain(bad.accepted);
    for (const part of [bad.field, bad.accepted]) expect(error.message).toContain(part);
  });

  it('gradients of gradients', async () => {
    const forward = await new UlyssesContextAttention(null, connection).forward(q, k, v);
    const error = await failureOf(() => forward.backward(dout, { createGraph: true }));
    expect(error).toMatchObject({ code: 'UNSUPPORTED', details: { field: 'createGraph', value: 'true' } });
    // The refusal used nothing up.
    expect((await forward.backward(dout)).dq.data).toHaveLength(q.data.length);
  });
});
