import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect, UlyssesContextAttention } from '@ulysses/client';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { arm, onHit, WITH_FAULT_POINTS } from '../support/fault-point.js';
import { stepInputs } from '../support/step-inputs.js';
import { startTrainer, type TrainerWorker } from '../support/trainer-worker.js';

/** Megabytes back to its owner, computed for a while after the last row has come. */
const LARGE = { rows: 6_001, batch: 1, qHeads: 6, kvHeads: 6, headSize: 64 };
const SMALL = { rows: 97, batch: 1, qHeads: 6, kvHeads: 2, headSize: 32 };

let cluster: TestCluster;
let stopped: TrainerWorker;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: 3 });
  stopped = startTrainer(WITH_FAULT_POINTS);
});
afterAll(async () => {
  await stopped.kill();
  await cluster.stop();
});

it.each(['relay', 'direct'] as const)(
  'a job whose owner stands still while it gets its rows by route %s does not hold up another job',
  async (route) => {
    const session = randomUUID();
    const options = { address: cluster.address, job: 'stopped', session, route, maxReplays: 0 };
    await stopped.tell({ kind: 'connect', options });
    const stands = new Promise<void>((resolve) => onHit(stopped.child, resolve));
    // Its rows are there, most of its results are not.
    await arm(stopped.child, { point: 'sent', pass: 'forward', pid: null, signal: 'SIGSTOP' });
    const rows = { begin: 0, end: LARGE.rows };
    let ended = false;
    const outcome = stopped
      .tell({ kind: 'forward', shape: LARGE, seed: 1, ...rows, attention: { causal: true, keep: 'none' } })
      .finally(() => (ended = true));
    await stands;
    const connection = await connect({ address: cluster.address, job: 'victim', route });
    try {
      const { q, k, v, dout } = stepInputs(SMALL, 2);
      for (let step = 0; step < 10; step++) {
        const forward = await new UlyssesContextAttention(null, connection).forward(q, k, v);
        await forward.backward(dout);
      }
      await cluster.untilStepRuns();
      expect(ended, 'the stopped job’s step has ended').toBe(false);
    } finally {
      await connection.close();
      stopped.child.kill('SIGCONT');
    }
    expect((await outcome)?.error).toBe(null);
    await stopped.tell({ kind: 'close' });
  },
);
