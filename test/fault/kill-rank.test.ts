import {
  connect,
  UlyssesContextAttention,
  type AttentionGradients,
  type AttentionOptions,
  type AttentionResult,
} from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { residentBytes } from '../support/resident-bytes.js';
import { stepInputs } from '../support/step-inputs.js';

const CP_SIZE = 4;
/** Long enough that a rank dies in the middle of it, on any machine. */
const LONG = { rows: 3001, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 };
const inputs = stepInputs(LONG, 5);

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startCluster({ cpSize: CP_SIZE, collectOften: true });
});
afterAll(async () => {
  await cluster.stop();
});

interface Undisturbed {
  readonly forward: AttentionResult;
  readonly gradients: AttentionGradients;
}

async function undisturbed(): Promise<Undisturbed> {
  const connection = await connect({ address: cluster.address });
  try {
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const forward = await attention.forward(inputs.q, inputs.k, inputs.v);
    return { forward, gradients: await forward.backward(inputs.dout) };
  } finally {
    await connection.close();
  }
}

/** Kills rank `rank` with SIGKILL as soon as the cluster runs the step that `start` calls for. */
async function killDuring<T>(rank: number, start: () => Promise<T>): Promise<{ readonly call: Promise<T> }> {
  const running = await cluster.whileStepRuns(start);
  cluster.kill(rank);
  return running;
}

function expectSameBits(actual: ArrayLike<number>, expected: ArrayLike<number>, name: string): void {
  expect(actual.length).toBe(expected.length);
  let different = 0;
  for (let i = 0; i < actual.length; i++) if (!Object.is(actual[i], expected[i])) different++;
  expect(different, `${name}: elements with other bits`).toBe(0);
}

describe('a rank is killed', () => {
  // How soon is for `npm run bench:step kill` to say.
  it('during forward: without replays the call fails and names the rank', async () => {
    const connection = await connect({ address: cluster.address, maxReplays: 0 });
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const { call } = await killDuring(2, () => attention.forward(inputs.q, inputs.k, inputs.v));
    const lost = { code: 'PEER_LOST', retryable: true, details: { peer: 'rank 2' } };
    await expect(call).rejects.toMatchObject(lost);
    await connection.close();
    await cluster.untilComplete();
  });

  it("during backward: likewise, also when it is the owner's relay", async () => {
    const connection = await connect({ address: cluster.address, maxReplays: 0 });
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const forward = await attention.forward(inputs.q, inputs.k, inputs.v);
    const { call } = await killDuring(0, () => forward.backward(inputs.dout, { retain: true }));
    await expect(call).rejects.toMatchObject({ code: 'PEER_LOST', details: { peer: 'rank 0' } });
    await connection.close();
    await cluster.untilComplete();
  });

  it('during forward and during backward: replayed steps give the same bits, nothing is summed twice', async () => {
    const expected = await undisturbed();
    const replays: string[] = [];
    const connection = await connect({
      address: cluster.address,
      onReplay: (error) => replays.push(error.code),
    });
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const forwards = await killDuring(1, () => attention.forward(inputs.q, inputs.k, inputs.v));
    const forward = await forwards.call;
    expect(replays).toContain('PEER_LOST');
    expectSameBits(forward.out.data, expected.forward.out.data, 'out');
    expectSameBits(forward.lse, expected.forward.lse, 'lse');

    replays.length = 0;
    const backwards = await killDuring(3, () => forward.backward(inputs.dout, { retain: true }));
    const gradients = await backwards.call;
    expect(replays).toContain('PEER_LOST');
    expect(replays).toContain('HANDLE_GONE');
    for (const name of ['dq', 'dk', 'dv'] as const) {
      expectSameBits(gradients[name].data, expected.gradients[name].data, name);
    }
    await connection.close();
  });

  it.each<AttentionOptions>([
    { keep: 'store', kvCachePolicy: 'half', kvCachePolicyUnaligned: true },
    { keep: 'store', kvCachePolicy: 'full', kvCachePolicyUnaligned: true },
    { keep: 'recompute' },
  ])('during backward with %j: the replay gives the bits of an undisturbed step', async (options) => {
    const expected = await undisturbed();
    const replays: string[] = [];
    const connection = await connect({
      address: cluster.address,
      onReplay: (error) => replays.push(error.code),
    });
    const attention = new UlyssesContextAttention(null, connection, { causal: true, ...options });
    const forward = await attention.forward(inputs.q, inputs.k, inputs.v);
    const { call } = await killDuring(2, () => forward.backward(inputs.dout, { retain: true }));
    const gradients = await call;
    expect(replays).toContain('PEER_LOST');
    // What a new rank would need of a forward that is recomputed comes with its backward.
    expect(replays.includes('HANDLE_GONE')).toBe(options.keep === 'store');
    for (const name of ['dq', 'dk', 'dv'] as const) {
      expectSameBits(gradients[name].data, expected.gradients[name].data, name);
    }
    await connection.close();
    await cluster.untilComplete();
  });

  it(
    'twenty-five times: memory of the survivors stays within 5 % of its warmed-up level',
    { timeout: 240_000 },
    async () => {
      const connection = await connect({ address: cluster.address });
      const attention = new UlyssesContextAttention(null, connection, { causal: true });
      const killAndReplay = async (): Promise<void> => {
        const { call } = await killDuring(1, () => attention.forward(inputs.q, inputs.k, inputs.v));
        await (await call).backward(inputs.dout);
      };
      const survivors = (): number[] => [
        cluster.coordinatorPid,
        ...[0, 2, 3].map((rank) => cluster.pidOf(rank)),
      ];
      for (let i = 0; i < 10; i++) await killAndReplay();
      const warm = await residentBytes(survivors());
      for (let i = 0; i < 25; i++) await killAndReplay();
      const after = await residentBytes(survivors());
      expect(after / warm).toBeLessThan(1.05);
      await connection.close();
    },
  );
});
