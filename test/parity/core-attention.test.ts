import {
  DefaultGatherSizeCalculator,
  UlyssesContextAttention,
  type AttentionOptions,
  type Cluster,
  type CallOptions,
  type CoreAttention,
  type TensorView,
} from '@ulysses/client';
import type { Mask } from '@ulysses/plan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { largestDeviation, RELATIVE_OF } from '../support/error-bound.js';
import { connectOwners, type Owners } from '../support/exchange-owners.js';
import { referenceOf } from '../support/expect-attention.js';
import { plainCoreAttention } from '../support/plain-core-attention.js';
import { causal, visibleBy } from '../support/reference-mask.js';
import { shardOf, stepInputs, type StepInputs } from '../support/step-inputs.js';
import { fromForm, roundedInputs, toForm, type TensorForm } from '../support/tensor-forms.js';

const RESULTS = ['out', 'dq', 'dk', 'dv'] as const;
type Results = Record<(typeof RESULTS)[number], Float32Array>;

interface CoreCase {
  readonly title: string;
  readonly splits: readonly number[];
  readonly kvSplits?: readonly number[];
  readonly qHeads: number;
  readonly kvHeads: number;
  readonly batch: number;
  readonly form: TensorForm;
  readonly mask: Mask;
}

const FULL: Mask = { left: null, right: null, segments: null, validRanges: null };
const CAUSAL: Mask = { ...FULL, right: 0 };
const PACKED: Mask = {
  ...CAUSAL,
  segments: { cuSeqlensQ: [0, 20, 20, 47, 61], cuSeqlensKv: [0, 20, 20, 47, 61] },
};

/** By cp_size, which is the number of owners. */
const CASES: Readonly<Record<number, readonly CoreCase[]>> = {
  2: [
    {
      title: 'f32, 3 heads of 3, uneven shards',
      splits: [40, 21],
      qHeads: 3,
      kvHeads: 3,
      batch: 2,
      form: { dtype: 'f32', layout: 'sbhd' },
      mask: CAUSAL,
    },
    {
      title: 'bf16, 5 heads share one KV head, [b, s, h, d]',
      splits: [30, 31],
      qHeads: 5,
      kvHeads: 1,
      batch: 2,
      form: { dtype: 'bf16', layout: 'bshd' },
      mask: FULL,
    },
  ],
  3: [
    {
      title: 'f32, 9 heads in 3 groups, packed, an owner without rows',
      splits: [30, 0, 31],
      qHeads: 9,
      kvHeads: 3,
      batch: 1,
      form: { dtype: 'f32', layout: 'thd' },
      mask: PACKED,
    },
    {
      title: 'f16, 4 heads in 2 groups, cut across a group, more keys than queries',
      splits: [10, 20, 13],
      kvSplits: [21, 20, 30],
      qHeads: 4,
      kvHeads: 2,
      batch: 2,
      form: { dtype: 'f16', layout: 'sbhd' },
      mask: CAUSAL,
    },
  ],
  4: [
    {
      title: 'f32, 6 heads in 2 groups: one owner reads heads of both',
      splits: [16, 15, 15, 15],
      qHeads: 6,
      kvHeads: 2,
      batch: 2,
      form: { dtype: 'f32', layout: 'bshd' },
      mask: CAUSAL,
    },
    {
      title: 'f32, 3 heads of one KV head on 4 owners: one has none',
      splits: [1, 30, 0, 30],
      qHeads: 3,
      kvHeads: 1,
      batch: 1,
      form: { dtype: 'f32', layout: 'sbhd' },
      mask: { ...FULL, left: 7, right: 2 },
    },
    {
      title: 'bf16, 8 heads in 4 groups, packed',
      splits: [20, 20, 20, 1],
      qHeads: 8,
      kvHeads: 4,
      batch: 1,
      form: { dtype: 'bf16', layout: 'thd' },
      mask: PACKED,
    },
  ],
};

interface OwnersCall {
  readonly clusters: readonly Cluster[];
  readonly core: CoreAttention;
  readonly options: AttentionOptions;
  readonly call?: CallOptions;
  readonly form: TensorForm;
  readonly splits: readonly number[];
  readonly kvSplits: readonly number[];
}

/** Every owner runs forward and backward of its shard; results are [s, b, h, d] in float32, owners one after the other. */
async function runOwners(call: OwnersCall, inputs: StepInputs): Promise<Results> {
  const share = (tensor: TensorView, splits: readonly number[], owner: number): TensorView => {
    const begin = splits.slice(0, owner).reduce((a, b) => a + b, 0);
    return toForm(shardOf(tensor, begin, begin + splits[owner]!), call.form);
  };
  const shares = await Promise.all(
    call.clusters.map(async (cluster, owner) => {
      const attention = new UlyssesContextAttention(call.core, cluster, call.options);
      const [q, dout] = [inputs.q, inputs.dout].map((tensor) => share(tensor, call.splits, owner));
      const [k, v] = [inputs.k, inputs.v].map((tensor) => share(tensor, call.kvSplits, owner));
      const forward = await attention.forward(q!, k!, v!, call.call);
      return { out: forward.out, ...(await forward.backward(dout!)) };
    }),
  );
  const joined = (name: keyof Results): Float32Array =>
    Float32Array.from(shares.flatMap((each) => [...fromForm(each[name]).data]));
  return { out: joined('out'), dq: joined('dq'), dk: joined('dk'), dv: joined('dv') };
}

function expectSameBits(actual: Results, expected: Results): void {
  for (const name of RESULTS) {
    expect(Buffer.compare(Buffer.from(actual[name].buffer), Buffer.from(expected[name].buffer)), name).toBe(
      0,
    );
  }
}

describe.each(Object.keys(CASES).map(Number))(
  'a core attention of the caller’s own on %i owners',
  (cpSize) => {
    let cluster: TestCluster;
    let owners: Owners;
    beforeAll(async () => {
      cluster = await startCluster({ cpSize });
      owners = await connectOwners(cluster.address, cpSize);
    });
    afterAll(async () => {
      await owners.close();
      await cluster.stop();
    });

    it.each(CASES[cpSize]!.map((testCase) => [testCase.title, testCase] as const))(
      'out, dq, dk and dv agree with the float64 reference: %s',
      async (_title, { splits, kvSplits = splits, qHeads, kvHeads, batch, form, mask }) => {
        const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
        const [rows, keys] = [sum(splits), sum(kvSplits)];
        const shape = { rows, keys, batch, qHeads, kvHeads, headSize: 16 };
        const inputs = roundedInputs(stepInputs(shape, rows + qHeads), form.dtype);
        const heads: { q: number; kv: number }[] = [];
        const core = plainCoreAttention({ onCall: (each) => heads.push({ ...each }) });
        const call = { clusters: owners.clusters, core, options: { mask }, form, splits, kvSplits };
        const actual = await runOwners(call, inputs);
        const reference = referenceOf(inputs, visibleBy(mask, rows, keys));
        const wrong = RESULTS.map((name) => ({
          name,
          ...largestDeviation(actual[name], reference[name], RELATIVE_OF[form.dtype]),
        })).filter(({ ratio }) => !(ratio <= 1));
        expect(wrong).toEqual([]);
        // Every query head is computed once, and nobody gets a KV head that it does not read.
        expect(sum(heads.map(({ q }) => q))).toBe(qHeads);
        expect(heads).toHaveLength(Math.min(cpSize, qHeads));
        for (const { q, kv } of heads) expect(kv).toBeLessThanOrEqual(q);
        expectSameBits(await runOwners(call, inputs), actual);
      },
    );
  },
);

describe('a core attention of the caller’s own', () => {
  const OWNERS = 3;
  const FORM: TensorForm = { dtype: 'f32', layout: 'bshd' };
  let cluster: TestCluster;
  let owners: Owners;
  beforeAll(async () => {
    cluster = await startCluster({ cpSize: OWNERS });
    owners = await connectOwners(cluster.address, OWNERS);
  });
  afterAll(async () => {
    await owners.close();
    await cluster.stop();
  });

  it('rows beyond the gather size are not exchanged: their out and gradients are zero', async () => {
    // 30 rows of which the longest sample has 17: owner 1 keeps 7 of its rows, owner 2 none.
    const splits = [10, 10, 10];
    const inputs = stepInputs({ rows: 30, batch: 2, qHeads: 4, kvHeads: 2, headSize: 8 }, 4);
    const call = {
      clusters: owners.clusters,
      core: plainCoreAttention(),
      options: { causal: true },
      call: { attentionMaskLengths: [17, 12] },
      form: FORM,
      splits,
      kvSplits: splits,
    };
    const actual = await runOwners(call, inputs);
    const cut = (view: TensorView): TensorView => shardOf(view, 0, 17);
    const kept = { q: cut(inputs.q), k: cut(inputs.k), v: cut(inputs.v), dout: cut(inputs.dout) };
    const reference = referenceOf(kept, causal);
    for (const name of RESULTS) {
      const rows = actual[name].length / 30;
      expect(largestDeviation(actual[name].slice(0, 17 * rows), reference[name]).ratio).toBeLessThanOrEqual(
        1,
      );
      expect(
        actual[name].slice(17 * rows).every((value) => value === 0),
        name,
      ).toBe(true);
    }
  });

  it('dk and dv in the dtype of k give what float32 rounded by the core gives', async () => {
    const inputs = stepInputs({ rows: 12, batch: 1, qHeads: 3, kvHeads: 3, headSize: 8 }, 5);
    const splits = [4, 4, 4];
    const form: TensorForm = { dtype: 'bf16', layout: 'sbhd' };
    const call = { clusters: owners.clusters, options: {}, form, splits, kvSplits: splits };
    const [f32, bf16] = [plainCoreAttention(), plainCoreAttention({ gradientDType: 'bf16' })];
    expectSameBits(
      await runOwners({ ...call, core: bf16 }, inputs),
      await runOwners({ ...call, core: f32 }, inputs),
    );
  });

  it('what does not go with it is refused by name', async () => {
    const core = plainCoreAttention();
    // Calls are numbered as they are made: an owner that calls alone has a session of its own.
    const alone = await connectOwners(cluster.address, OWNERS);
    const refusal = async (
      options: AttentionOptions,
      heads: readonly [number, number] = [4, 2],
    ): Promise<unknown> => {
      const shape = { rows: 4, batch: 1, qHeads: heads[0], kvHeads: heads[1], headSize: 8 };
      const { q, k, v } = stepInputs(shape, 6);
      const attention = new UlyssesContextAttention(core, alone.clusters[0]!, options);
      return await attention.forward(q, k, v).catch((error: unknown) => error);
    };
    const field = (name: string, code: string): object => ({ code, details: { field: name } });
    expect(await refusal({ strategy: 'balanced' })).toMatchObject(field('strategy', 'UNSUPPORTED'));
    expect(await refusal({ gatherSizeCalculator: null })).toMatchObject(
      field('gatherSizeCalculator', 'UNSUPPORTED'),
    );
    const aligned = { gatherSizeCalculator: new DefaultGatherSizeCalculator() };
    expect(await refusal(aligned)).toMatchObject(field('qHeads', 'SHAPE_MISMATCH'));
    expect(await refusal({}, [4, 3])).toMatchObject(field('kvHeads', 'SHAPE_MISMATCH'));
    expect(await refusal({ kvCachePolicy: 'full' })).toMatchObject(field('kvCachePolicy', 'UNSUPPORTED'));
    expect(await refusal({ keep: 'recompute' })).toMatchObject(field('keep', 'UNSUPPORTED'));
    await alone.close();
  });

  it('owners whose attentions differ are told which, and results of other shapes are refused', async () => {
    const { q, k, v } = stepInputs({ rows: 4, batch: 1, qHeads: 3, kvHeads: 3, headSize: 8 }, 7);
    const outcomes = await Promise.allSettled(
      owners.clusters.map((connection, owner) =>
        new UlyssesContextAttention(plainCoreAttention(), connection, { causal: owner !== 1 }).forward(
          q,
          k,
          v,
        ),
      ),
    );
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'STEP_MISMATCH', details: { field: 'purpose', peer: 'owner 1' } },
      });
    }
    const wrong: CoreAttention = async (q, k, v, call) => ({
      ...(await plainCoreAttention()(q, k, v, call)),
      out: shardOf(q, 0, 11),
    });
    const refused = await Promise.allSettled(
      owners.clusters.map((connection) =>
        new UlyssesContextAttention(wrong, connection).forward(q, k, v, { deadlineMs: 10_000 }),
      ),
    );
    for (const outcome of refused) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'SHAPE_MISMATCH', details: { field: 'out.extents.rows', value: '11' } },
      });
    }
  });

  it.each(['forward', 'backward'] as const)(
    'a core attention that fails in %s: its owner gets its own error, the others are told at once',
    async (pass) => {
      const { q, k, v, dout } = stepInputs({ rows: 4, batch: 1, qHeads: 3, kvHeads: 3, headSize: 8 }, 8);
      const failing: CoreAttention = async (...inputs) => {
        if (pass === 'forward') throw new Error('no memory left');
        const output = await plainCoreAttention()(...inputs);
        return { ...output, backward: () => Promise.reject(new Error('no memory left')) };
      };
      const outcomes = await Promise.allSettled(
        owners.clusters.map(async (connection, owner) => {
          const core = owner === 1 ? failing : plainCoreAttention();
          const forward = await new UlyssesContextAttention<CoreAttention>(core, connection).forward(q, k, v);
          return await forward.backward(dout);
        }),
      );
      outcomes.forEach((outcome, owner) => {
        const told = { code: 'STEP_MISMATCH', details: { field: 'failure', peer: 'owner 1' } };
        const reason = owner === 1 ? { message: 'no memory left' } : told;
        expect(outcome).toMatchObject({ status: 'rejected', reason });
        expect((outcome as PromiseRejectedResult).reason).toHaveProperty(
          'message',
          expect.stringContaining('no memory left'),
        );
      });
    },
  );
});
