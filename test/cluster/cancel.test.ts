import { connect, UlyssesContextAttention, type Cluster } from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { stepInputs } from '../support/step-inputs.js';

const LONG = stepInputs({ rows: 6001, batch: 1, qHeads: 6, kvHeads: 6, headSize: 64 }, 4);
const SMALL = stepInputs({ rows: 9, batch: 1, qHeads: 3, kvHeads: 3, headSize: 8 }, 4);

let cluster: TestCluster;
let connection: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ cpSize: 2 });
  connection = await connect({ address: cluster.address });
});
afterAll(async () => {
  await connection.close();
  await cluster.stop();
});

async function errorOf(call: Promise<unknown>): Promise<UlyssesError> {
  const error = await call.then(
    () => new Error('the call succeeded'),
    (thrown: unknown) => thrown,
  );
  if (error instanceof UlyssesError) return error;
  throw error;
}

async function expectIdle(): Promise<void> {
  await cluster.untilIdle();
  const step = await new UlyssesContextAttention(null, connection).forward(SMALL.q, SMALL.k, SMALL.v);
  await step.backward(SMALL.dout);
}

describe('a cluster that is not there', () => {
  it('is an error that names the address, long before the deadline of the call', async () => {
    const nowhere = await connect({ address: '127.0.0.1:1', firstContactMs: 200, deadlineMs: 60_000 });
    const error = await errorOf(
      new UlyssesContextAttention(null, nowhere).forward(SMALL.q, SMALL.k, SMALL.v),
    );
    expect(error.code).toBe('PEER_LOST');
    expect(error.message).toContain('127.0.0.1:1');
    await nowhere.close();
  });
});

describe('a step that is given up', () => {
  it('by its signal: CANCELLED, the kernels stop, nothing is left, and the next step works', async () => {
    const attention = new UlyssesContextAttention(null, connection);
    const controller = new AbortController();
    const call = errorOf(attention.forward(LONG.q, LONG.k, LONG.v, { signal: controller.signal }));
    await cluster.untilStepRuns();
    controller.abort();
    expect((await call).code).toBe('CANCELLED');
    await expectIdle();
    expect(await cluster.storeBytes()).toBe(0);
  });

  it('by its deadline: DEADLINE, and the next step works', async () => {
    const attention = new UlyssesContextAttention(null, connection);
    const error = await errorOf(attention.forward(LONG.q, LONG.k, LONG.v, { deadlineMs: 60 }));
    expect(error.code).toBe('DEADLINE');
    await expectIdle();
  });

  it('by a trainer that closes its connection: the cluster is idle again', async () => {
    const leaving = await connect({ address: cluster.address });
    const call = errorOf(new UlyssesContextAttention(null, leaving).forward(LONG.q, LONG.k, LONG.v));
    await cluster.untilStepRuns();
    await leaving.close();
    expect(['PEER_LOST', 'CANCELLED']).toContain((await call).code);
    await expectIdle();
  });

  it('handles are counted while they live and gone after backward or release', async () => {
    const attention = new UlyssesContextAttention(null, connection);
    const kept = await attention.forward(SMALL.q, SMALL.k, SMALL.v);
    expect(await cluster.storeBytes()).toBeGreaterThan(0);
    await kept.release();
    const none = new UlyssesContextAttention(null, connection, { keep: 'none' });
    const forgotten = await none.forward(SMALL.q, SMALL.k, SMALL.v);
    expect((await errorOf(forgotten.backward(SMALL.dout))).code).toBe('HANDLE_GONE');
    await cluster.untilIdle();
    expect(await cluster.storeBytes()).toBe(0);
  });
});
