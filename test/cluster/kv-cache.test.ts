import { randomUUID } from 'node:crypto';
import {
  connect,
  UlyssesContextAttention,
  type AttentionOptions,
  type AttentionResult,
  type Cluster,
  type ClusterWarning,
  type Keep,
  type KvCachePolicy,
  type TensorView,
} from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import { createPlan, explainPlan, type PlanReport, type Retention, type StepSpec } from '@ulysses/plan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { shardOf, stepInputs } from '../support/step-inputs.js';
import type { TensorForm } from '../support/tensor-forms.js';

const CP_SIZE = 4;
const POLICIES: readonly KvCachePolicy[] = ['none', 'half', 'full'];
/** One KV head is read by two ranks each: what none keeps twice, half and full do not. */
const REPLICATED = { rows: 44, batch: 1, qHeads: 8, kvHeads: 2, headSize: 16 };
const SPLITS = [11, 11, 11, 11];

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startCluster({ cpSize: CP_SIZE });
});
afterAll(async () => {
  await cluster.stop();
});

/** What `ulysses plan` says of a causal step of that shape. */
function planned(splits: readonly number[], retention: Retention): PlanReport {
  const { batch, qHeads, kvHeads, headSize } = REPLICATED;
  const spec: StepSpec = {
    dtype: 'f32',
    layout: 'sbhd',
    batch,
    qHeads,
    kvHeads,
    headSize,
    qSplits: splits,
    kvSplits: splits,
    mask: { left: null, right: 0, segments: null, validRanges: null },
    scale: 1,
    strategy: 'heads',
    weights: null,
  };
  return explainPlan(createPlan(spec, CP_SIZE), retention);
}

async function errorOf(call: Promise<unknown>): Promise<UlyssesError> {
  const thrown: unknown = await call.then(
    () => new Error('the call succeeded'),
    (error: unknown) => error,
  );
  if (thrown instanceof UlyssesError) return thrown;
  throw thrown;
}

describe('gradients have the bits of store and none', () => {
  const F32: TensorForm = { dtype: 'f32', layout: 'sbhd' };
  const BF16: TensorForm = { dtype: 'bf16', layout: 'bshd' };
  const shapes: readonly [string, typeof REPLICATED, readonly number[], TensorForm][] = [
    ['8 heads, 2 KV heads, equal shards', REPLICATED, [11, 11, 11, 11], F32],
    ['the same in bf16, uneven shards', REPLICATED, [17, 3, 0, 24], BF16],
    [
      '5 heads cut between ranks, one KV head, 3 owners',
      { ...REPLICATED, qHeads: 5, kvHeads: 1 },
      [20, 1, 23],
      F32,
    ],
  ];

  it.each(shapes)('%s: with every KV-cache policy, stored and recomputed', async (_, shape, splits, form) => {
    const inputs = stepInputs(shape, 7);
    const step = (options: AttentionOptions) =>
      runStep({ address: cluster.address, splits, form, attention: { causal: true, ...options } }, inputs);
    const expected = await step({ keep: 'store', kvCachePolicy: 'none' });
    for (const keep of ['store', 'recompute'] as const) {
      for (const kvCachePolicy of POLICIES) {
        expectSameBits(await step({ keep, kvCachePolicy, kvCachePolicyUnaligned: true }), expected);
      }
    }
    await cluster.untilStoreIsEmpty();
  });
});

interface OwnerStep {
  readonly forward: AttentionResult;
  readonly dout: TensorView;
}

it('out and lse have the bits of store and none with keep none and every KV-cache policy', async () => {
  const { q, k, v } = stepInputs({ ...REPLICATED, qHeads: 5, kvHeads: 1 }, 6);
  const connection = await open([]);
  const outcome = async (options: AttentionOptions): Promise<unknown> => {
    const attention = new UlyssesContextAttention(null, connection, { causal: true, ...options });
    const forward = await attention.forward(q, k, v);
    await forward.release();
    return { out: forward.out.data, lse: forward.lse };
  };
  const expected = await outcome({ keep: 'store', kvCachePolicy: 'none' });
  for (const kvCachePolicy of POLICIES) {
    expect(await outcome({ keep: 'none', kvCachePolicy, kvCachePolicyUnaligned: true })).toEqual(expected);
  }
  await connection.close();
});

/** Four owners with a quarter each have made a forward; their handles are released after `run`. */
async function fourOwners<T>(
  options: AttentionOptions,
  run: (owners: readonly OwnerStep[]) => Promise<T>,
): Promise<T> {
  const inputs = stepInputs(REPLICATED, 8);
  const session = randomUUID();
  const connections = await Promise.all(
    SPLITS.map((_, ownerIndex) =>
      connect({
        address: cluster.address,
        session,
        ownerIndex,
        ownerCount: SPLITS.length,
        onWarning: () => undefined,
      }),
    ),
  );
  try {
    const owners = await Promise.all(
      connections.map(async (connection, owner): Promise<OwnerStep> => {
        const [begin, end] = [owner * 11, (owner + 1) * 11];
        const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((tensor) => shardOf(tensor, begin, end));
        const attention = new UlyssesContextAttention(null, connection, { causal: true, ...options });
        const forward = await attention.forward(q!, k!, v!);
        return { forward, dout: shardOf(inputs.dout, begin, end) };
      }),
    );
    const result = await run(owners);
    await Promise.all(owners.map(({ forward }) => forward.release()));
    await cluster.untilStoreIsEmpty();
    return result;
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
  }
}

describe('bytes that are kept and exchanged', () => {
  it('are those that the plan says on every rank, none > half > full', async () => {
    const kept: number[][] = [];
    for (const policy of POLICIES) {
      const seen = await fourOwners({ kvCachePolicy: policy }, ([owner]) => {
        expect(owner?.forward.report).toMatchObject({ keep: 'store', kvCachePolicy: policy });
        return cluster.storeBytesPerRank();
      });
      const { ranks } = planned(SPLITS, { keep: 'store', policy });
      expect(seen).toEqual(ranks.map(({ storeBytes }) => storeBytes[policy]));
      kept.push(seen);
    }
    for (let rank = 0; rank < CP_SIZE; rank++) {
      const [none = 0, half = 0, full = 0] = kept.map((bytes) => bytes[rank]);
      expect(none).toBeGreaterThan(half);
      expect(half).toBeGreaterThan(full);
      expect(full).toBeGreaterThan(0);
    }
  });

  it.each<[Keep, KvCachePolicy]>([
    ['store', 'none'],
    ['store', 'half'],
    ['store', 'full'],
    ['recompute', 'none'],
    ['recompute', 'full'],
  ])(
    'in the backward of keep %s with policy %s are those that the plan says',
    async (keep, kvCachePolicy) => {
      const exchanged = await fourOwners({ keep, kvCachePolicy }, async (owners) => {
        const gradients = await Promise.all(owners.map(({ forward, dout }) => forward.backward(dout)));
        return gradients.reduce((sum, { report }) => sum + report.bytesExchanged, 0);
      });
      const { backward } = planned(SPLITS, { keep, policy: kvCachePolicy });
      expect(exchanged).toBe(backward.ownersToRanks + backward.ranksToOwners);
    },
  );

  it('are none with keep recompute and none, and none has no backward', async () => {
    for (const keep of ['recompute', 'none'] as const) {
      await fourOwners({ keep, kvCachePolicy: 'full' }, async (owners) => {
        expect(await cluster.storeBytes()).toBe(0);
        if (keep === 'recompute') return;
        for (const { forward, dout } of owners) {
          expect((await errorOf(forward.backward(dout))).code).toBe('HANDLE_GONE');
        }
      });
    }
  });
});

describe('auto', () => {
  it('takes the first policy that fits the budget of each rank, and does not align the exchange', async () => {
    const { ranks } = planned([44], { keep: 'store', policy: 'none' });
    const most = (policy: KvCachePolicy): number =>
      Math.max(...ranks.map(({ storeBytes }) => storeBytes[policy]));
    const warnings: ClusterWarning[] = [];
    const connection = await open(warnings);
    const inputs = stepInputs(REPLICATED, 9);
    for (const [budget, expected] of [
      [most('none'), 'none'],
      [most('none') - 1, 'half'],
      [most('half') - 1, 'full'],
      [0, 'full'],
    ] as const) {
      const attention = new UlyssesContextAttention(null, connection, {
        causal: true,
        kvCachePolicy: 'auto',
        kvCacheBudgetBytes: budget,
      });
      const forward = await attention.forward(inputs.q, inputs.k, inputs.v);
      expect(forward.report.kvCachePolicy).toBe(expected);
      const { report } = await forward.backward(inputs.dout);
      expect(report.kvCachePolicy).toBe(expected);
    }
    expect(warnings).toEqual([]);
    await connection.close();
  });
});

describe('policies half and full align the exchange', () => {
  it('which is said exactly once, however many steps there are', async () => {
    const warnings: ClusterWarning[] = [];
    const connection = await open(warnings);
    const { q, k, v, dout } = stepInputs(REPLICATED, 10);
    for (const kvCachePolicy of ['full', 'half', 'full'] as const) {
      const attention = new UlyssesContextAttention(null, connection, { causal: true, kvCachePolicy });
      await (await attention.forward(q, k, v)).backward(dout);
    }
    expect(warnings).toHaveLength(1);
    expect(warnings[0]?.kind).toBe('aligned-by-policy');
    expect(warnings[0]?.message).toContain('KV-cache policy full makes the exchange aligned');
    await connection.close();
  });

  it('so that heads that do not divide are refused, naming the way out, which works and warns of nothing', async () => {
    const warnings: ClusterWarning[] = [];
    const connection = await open(warnings);
    const { q, k, v, dout } = stepInputs({ ...REPLICATED, qHeads: 6 }, 11);
    const options = { causal: true, kvCachePolicy: 'half' } as const;
    const error = await errorOf(new UlyssesContextAttention(null, connection, options).forward(q, k, v));
    expect(error.code).toBe('SHAPE_MISMATCH');
    expect(error.message).toContain('kvCachePolicyUnaligned');
    const unaligned = { ...options, kvCachePolicyUnaligned: true };
    const forward = await new UlyssesContextAttention(null, connection, unaligned).forward(q, k, v);
    expect((await forward.backward(dout)).report.kvCachePolicy).toBe('half');
    expect(warnings).toEqual([]);
    await connection.close();
  });

  it('also when the cluster asks for them: trainers that say nothing get its policy and its warning', async () => {
    const flags = ['--context-parallel-kv-cache-policy', 'half'];
    const automatic = ['--context-parallel-kv-cache-policy', 'auto', '--kv-cache-budget', '1B'];
    const [half, unaligned, auto] = await Promise.all([
      startCluster({ cpSize: 2, flags }),
      startCluster({ cpSize: 2, flags: [...flags, '--kv-cache-policy-unaligned'] }),
      startCluster({ cpSize: 2, flags: automatic }),
    ]);
    try {
      const expected: readonly [TestCluster, KvCachePolicy, number][] = [
        [half, 'half', 1],
        [unaligned, 'half', 0],
        [auto, 'full', 0],
      ];
      const { q, k, v, dout } = stepInputs(REPLICATED, 12);
      for (const [{ address }, policy, count] of expected) {
        const warnings: ClusterWarning[] = [];
        const connection = await open(warnings, address);
        const forward = await new UlyssesContextAttention(null, connection).forward(q, k, v);
        expect(forward.report.kvCachePolicy).toBe(policy);
        await forward.backward(dout);
        expect(warnings).toHaveLength(count);
        await connection.close();
      }
    } finally {
      await Promise.all([half.stop(), unaligned.stop(), auto.stop()]);
    }
  });
});

async function open(warnings: ClusterWarning[], address = cluster.address): Promise<Cluster> {
  return await connect({ address, onWarning: (warning) => warnings.push(warning) });
}
