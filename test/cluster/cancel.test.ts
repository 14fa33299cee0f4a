import { randomUUID } from 'node:crypto';
import {
  connect,
  UlyssesContextAttention,
  type AttentionResult,
  type Cluster,
  type TensorView,
} from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startCluster, startCoordinator, type TestCluster } from '../support/cluster.js';
import { stepInputs } from '../support/step-inputs.js';

const LONG = stepInputs({ rows: 6001, batch: 1, qHeads: 6, kvHeads: 6, headSize: 64 }, 4);
/** A backward of it takes a few times as long as a status or the shortest deadline below. */
const MIDDLE = stepInputs({ rows: 5001, batch: 1, qHeads: 3, kvHeads: 3, headSize: 64 }, 4);
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

function bytesOf({ data }: TensorView): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
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

describe('a backward that is given up', () => {
  it('by its signal or its deadline leaves the handle as it was: the next backward has the same bits', async () => {
    const attention = new UlyssesContextAttention(null, connection);
    const step = await attention.forward(MIDDLE.q, MIDDLE.k, MIDDLE.v);
    const stored = await cluster.storeBytes();
    expect(stored).toBeGreaterThan(0);
    const whole = await step.backward(MIDDLE.dout, { retain: true });

    const controller = new AbortController();
    const { call } = await cluster.whileStepRuns(() =>
      step.backward(MIDDLE.dout, { signal: controller.signal, retain: true }),
    );
    controller.abort();
    expect((await errorOf(call)).code).toBe('CANCELLED');
    await cluster.untilIdle();
    expect((await errorOf(step.backward(MIDDLE.dout, { deadlineMs: 20 }))).code).toBe('DEADLINE');
    await cluster.untilIdle();
    expect(await cluster.storeBytes()).toBe(stored);

    const again = await step.backward(MIDDLE.dout);
    for (const name of ['dq', 'dk', 'dv'] as const) {
      expect(bytesOf(again[name]).equals(bytesOf(whole[name]))).toBe(true);
    }
    await cluster.untilStoreIsEmpty();
  });
});

describe('a call that is given up before its step runs', () => {
  it('while it waits for other owners: CANCELLED, they hear who is missing, and their next call works', async () => {
    const session = randomUUID();
    const owners = await Promise.all(
      [0, 1].map((ownerIndex) =>
        connect({ address: cluster.address, session, ownerIndex, ownerCount: 2, deadlineMs: 20_000 }),
      ),
    );
    const attentions = owners.map((owner) => new UlyssesContextAttention(null, owner));
    const forward = (owner: number, call = {}): Promise<AttentionResult> =>
      attentions[owner]!.forward(SMALL.q, SMALL.k, SMALL.v, call);
    try {
      const controller = new AbortController();
      const waiting = errorOf(forward(0, { signal: controller.signal }));
      await cluster.untilStepIsKnown();
      controller.abort();
      expect((await waiting).code).toBe('CANCELLED');
      const left = await errorOf(forward(1, { deadlineMs: 500 }));
      expect(left).toMatchObject({
        code: 'DEADLINE',
        message: 'the deadline passed: owner 0 of 2 did not call',
      });
      const steps = await Promise.all([forward(0), forward(1)]);
      await Promise.all(steps.map((step) => step.release()));
    } finally {
      await Promise.all(owners.map((owner) => owner.close()));
    }
  });

  it('while the cluster is incomplete: CANCELLED or DEADLINE, which says so, and nothing is left', async () => {
    const alone = await startCoordinator(2);
    const waiting = await connect({ address: alone.address });
    try {
      const attention = new UlyssesContextAttention(null, waiting);
      const controller = new AbortController();
      const cancelled = errorOf(attention.forward(SMALL.q, SMALL.k, SMALL.v, { signal: controller.signal }));
      await vi.waitUntil(async () => (await alone.status()).stepsRunning === 1, { timeout: 10_000 });
      controller.abort();
      expect((await cancelled).code).toBe('CANCELLED');
      const late = await errorOf(attention.forward(SMALL.q, SMALL.k, SMALL.v, { deadlineMs: 3_000 }));
      expect(late).toMatchObject({
        code: 'DEADLINE',
        message: 'the deadline passed: the step was still in phase wait for all ranks',
      });
      await vi.waitUntil(async () => (await alone.status()).stepsRunning === 0, { timeout: 10_000 });
    } finally {
      await waiting.close();
      await alone.stop();
    }
  });

  it('between two attempts: CANCELLED, and there is no further attempt', async () => {
    const controller = new AbortController();
    let replays = 0;
    const replaying = await connect({
      address: cluster.address,
      onReplay: () => {
        replays++;
        controller.abort();
      },
    });
    try {
      const attention = new UlyssesContextAttention(null, replaying);
      const call = errorOf(attention.forward(LONG.q, LONG.k, LONG.v, { signal: controller.signal }));
      await cluster.untilStepRuns();
      cluster.kill(1);
      expect((await call).code).toBe('CANCELLED');
      expect(replays).toBe(1);
      await cluster.untilComplete();
      await expectIdle();
    } finally {
      await replaying.close();
    }
  });
});

describe('a coordinator that does not answer', () => {
  it('holds release no longer than its deadline or signal, and a later release is heard', async () => {
    const kept = await new UlyssesContextAttention(null, connection).forward(SMALL.q, SMALL.k, SMALL.v);
    process.kill(cluster.coordinatorPid, 'SIGSTOP');
    try {
      expect((await errorOf(kept.release({ deadlineMs: 100 }))).code).toBe('DEADLINE');
      const controller = new AbortController();
      const call = errorOf(kept.release({ signal: controller.signal }));
      controller.abort();
      expect((await call).code).toBe('CANCELLED');
      expect((await errorOf(kept.backward(SMALL.dout))).code).toBe('HANDLE_GONE');
    } finally {
      process.kill(cluster.coordinatorPid, 'SIGCONT');
    }
    await kept.release();
    await cluster.untilStoreIsEmpty();
  });
});
