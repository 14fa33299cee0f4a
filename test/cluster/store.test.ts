import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  connect,
  UlyssesContextAttention,
  type AttentionGradients,
  type AttentionOptions,
  type AttentionResult,
  type Cluster,
  type ClusterWarning,
  type ConnectOptions,
} from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import { regionStats } from '@ulysses/native';
import { createPlan, explainPlan } from '@ulysses/plan';
import { connectCoordinator, type StepView } from '@ulysses/rpc';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { shardOf, stepInputs } from '../support/step-inputs.js';

const SHAPE = { rows: 20, batch: 1, qHeads: 4, kvHeads: 2, headSize: 8 };
const { q, k, v, dout } = stepInputs(SHAPE, 21);

/** What the rank that keeps most keeps of one forward. */
function bytesOfOne(): number {
  const splits = [SHAPE.rows];
  const mask = { left: null, right: null, segments: null, validRanges: null };
  const spec = { ...SHAPE, dtype: 'f32', layout: 'sbhd', qSplits: splits, kvSplits: splits } as const;
  const plan = createPlan({ ...spec, mask, scale: 1, strategy: 'heads', weights: null }, 2);
  return Math.max(...explainPlan(plan).ranks.map(({ storeBytes }) => storeBytes.none));
}

let cluster: TestCluster;
const connections: Cluster[] = [];

// Room for three forwards, two of them of one job.
beforeAll(async () => {
  const flags = ['--store-bytes', `${3 * bytesOfOne()}B`, '--store-bytes-per-job', `${2 * bytesOfOne()}B`];
  cluster = await startCluster({ cpSize: 2, flags });
});
afterEach(async () => {
  await cluster.untilStoreIsEmpty();
  await Promise.all(connections.splice(0).map((connection) => connection.close()));
});
afterAll(async () => {
  await cluster.stop();
});

async function trainer(options: Partial<ConnectOptions> = {}): Promise<Cluster> {
  const connection = await connect({ address: cluster.address, deadlineMs: 10_000, ...options });
  connections.push(connection);
  return connection;
}

function forwardOf(connection: Cluster, options: AttentionOptions = {}): Promise<AttentionResult> {
  return new UlyssesContextAttention(null, connection, options).forward(q, k, v);
}

function expectSameGradients(actual: AttentionGradients, expected: AttentionGradients): void {
  for (const name of ['dq', 'dk', 'dv'] as const) expect(actual[name].data).toEqual(expected[name].data);
}

describe('a trainer whose own handles fill the store', () => {
  it('recomputes what does not fit, says so once, gets the same bits, and stores again when there is room', async () => {
    const warnings: ClusterWarning[] = [];
    const connection = await trainer({ onWarning: (warning) => warnings.push(warning) });
    const forwards: AttentionResult[] = [];
    for (let i = 0; i < 4; i++) forwards.push(await forwardOf(connection));
    expect(forwards.map(({ report }) => report.keep)).toEqual(['store', 'store', 'recompute', 'recompute']);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]?.kind).toBe('recompute');
    expect(warnings[0]?.message).toContain('--store-bytes-per-job');

    const [first, ...rest] = forwards;
    const expected = await first!.backward(dout);
    for (const forward of rest) expectSameGradients(await forward.backward(dout), expected);
    const again = await forwardOf(connection);
    expect(again.report.keep).toBe('store');
    await again.release();
    expect(warnings).toHaveLength(1);
  });

  it('does so together with the other owners of its session', async () => {
    const session = randomUUID();
    const results = await Promise.all(
      [0, 1].map(async (ownerIndex) => {
        const connection = await trainer({
          session,
          ownerIndex,
          ownerCount: 2,
          onWarning: () => undefined,
        });
        const part = (tensor: typeof q) => shardOf(tensor, 10 * ownerIndex, 10 * ownerIndex + 10);
        const attention = new UlyssesContextAttention(null, connection);
        const forwards: AttentionResult[] = [];
        for (let i = 0; i < 3; i++) forwards.push(await attention.forward(part(q), part(k), part(v)));
        const gradients: AttentionGradients[] = [];
        for (const forward of forwards) gradients.push(await forward.backward(part(dout)));
        expect(forwards.map(({ report }) => report.keep)).toEqual(['store', 'store', 'recompute']);
        return gradients;
      }),
    );
    for (const [stored, , recomputed] of results) expectSameGradients(recomputed!, stored!);
  });

  it('recomputes at once what could never be stored', async () => {
    const large = stepInputs({ ...SHAPE, rows: 10 * SHAPE.rows }, 22);
    const warnings: ClusterWarning[] = [];
    const connection = await trainer({ onWarning: (warning) => warnings.push(warning) });
    const forward = await new UlyssesContextAttention(null, connection).forward(large.q, large.k, large.v);
    expect(forward.report.keep).toBe('recompute');
    expect(warnings).toHaveLength(1);
    expect((await forward.backward(large.dout)).dq.data.some((value) => value !== 0)).toBe(true);
  });
});

it('a backward of a forward that kept nothing is refused by the coordinator, whoever asks', async () => {
  const coordinator = connectCoordinator(cluster.address);
  const step = { job: 'inference', session: 's', call: 0, pass: 'backward', attempt: 0 } as const;
  const view: StepView = {
    ...{ dtype: 'f32', layout: 'sbhd', batch: 1, qHeads: 2, kvHeads: 2, headSize: 8, qRows: 4, kvRows: 4 },
    ...{ mask: { left: null, right: null, segments: null, validRanges: null }, scale: 1, strategy: null },
    keep: 'none',
    ...{ attentionMaskLengths: null, attentionMaskExtent: null, calculatorArguments: null },
    ...{ gatherSizeQ: null, gatherSizeKv: null, clientCalculator: null, gatherSizeCalculator: null },
    ...{ kvCachePolicy: null, kvCacheBudgetBytes: null, kvCachePolicyUnaligned: false },
  };
  const forward = { ...step, pass: 'forward' } as const;
  const updates = coordinator.planStep({
    step,
    ownerIndex: 0,
    ownerCount: 1,
    view,
    forward,
    releaseForward: true,
    direct: false,
  });
  await expect(updates.next()).rejects.toMatchObject({ code: 'UNSUPPORTED', details: { field: 'keep' } });
  coordinator.close();
});

it('results that were freed are empty, and backward needs none of them', async () => {
  const connection = await trainer();
  const whole = await forwardOf(connection);
  const expected = await whole.backward(dout);
  const freed = await forwardOf(connection);
  freed.freeResults();
  freed.freeResults();
  expect([freed.out.data.length, freed.lse.length]).toEqual([0, 0]);
  expectSameGradients(await freed.backward(dout), expected);
});

describe('the budget of a job', () => {
  it('stops that job and no other, and a trainer without handles of its own waits for room', async () => {
    const greedy = await trainer({ job: 'greedy' });
    const handles = [await forwardOf(greedy), await forwardOf(greedy)];
    const sibling = await trainer({ job: 'greedy', maxReplays: 0 });
    const refused = await forwardOf(sibling).then(
      () => new Error('there was room'),
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(UlyssesError);
    expect(refused).toMatchObject({
      code: 'OVERLOADED',
      retryable: true,
      details: { peer: expect.stringMatching(/^rank [01]$/) },
    });
    expect((refused as UlyssesError).message).toContain('job greedy has 0 of');

    const modest = await forwardOf(await trainer({ job: 'modest' }));
    expect(modest.report.keep).toBe('store');
    await modest.release();

    const refusals: string[] = [];
    const patient = await trainer({
      job: 'greedy',
      onReplay: ({ code }) => {
        refusals.push(code);
        // Somebody else's handle goes, and that is what it waits for.
        if (refusals.length === 1) void handles[0]?.release();
      },
    });
    const admitted = await forwardOf(patient);
    expect(admitted.report.keep).toBe('store');
    expect(refusals).toContain('OVERLOADED');
    await admitted.release();
    await handles[1]?.release();
  });
});

it('a connection that is closed lets releases arrive that are under way', async () => {
  const connection = await trainer();
  const forwards = [await forwardOf(connection), await forwardOf(connection)];
  expect(await cluster.storeBytes()).toBeGreaterThan(0);
  const releases = forwards.map((forward) => forward.release());
  await connection.close();
  await Promise.all(releases);
  // Long before the end of their time to live.
  await cluster.untilStoreIsEmpty();
});

describe('a result that nobody can reach any more', () => {
  const collectGarbage = (): void => {
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
  };

  /** Memory of regions when everything unreachable is gone, what earlier tests left included. */
  async function reachableBytes(): Promise<number> {
    for (let before = Infinity; ;) {
      collectGarbage();
      await setImmediate();
      const { allocatedBytes } = regionStats();
      if (allocatedBytes === before) return before;
      before = allocatedBytes;
    }
  }

  /** The frame that knew the result is gone when this resolves. */
  async function dropResult(connection: Cluster, keep: 'store' | 'recompute', before: number): Promise<void> {
    const forward = await forwardOf(connection, { keep });
    if (keep === 'store') expect(await cluster.storeBytes()).toBeGreaterThan(0);
    expect(regionStats().allocatedBytes).toBeGreaterThan(before);
    expect(forward.report.keep).toBe(keep);
  }

  it.each(['store', 'recompute'] as const)(
    'frees its handle on the ranks and its inputs here: %s',
    async (keep) => {
      const connection = await trainer();
      const before = await reachableBytes();
      await dropResult(connection, keep, before);
      let left = 0;
      await cluster.untilStoreIsEmpty(() => {
        collectGarbage();
        left = regionStats().allocatedBytes;
        return left <= before;
      });
      expect(left).toBeLessThanOrEqual(before);
    },
  );

  it('but one that is still used keeps both', async () => {
    const connection = await trainer();
    const forward = await forwardOf(connection);
    for (let i = 0; i < 3; i++) {
      collectGarbage();
      expect(await cluster.storeBytes()).toBeGreaterThan(0);
    }
    expect((await forward.backward(dout)).dq.data).toHaveLength(q.data.length);
  });
});
