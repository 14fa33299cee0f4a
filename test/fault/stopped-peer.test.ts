import { randomUUID } from 'node:crypto';
import { describe, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { arm, onHit, WITH_FAULT_POINTS } from '../support/fault-point.js';
import { startTrainer, type CommandOutcome, type TrainerWorker } from '../support/trainer-worker.js';

/** Of the steps: longer than a sign of life is waited for, so whoever gets there has found nothing. */
const DEADLINE_MS = 50_000;
const TEST_MS = 120_000;
const SHAPE = { rows: 801, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 };
const BEGINS = [0, 300, SHAPE.rows];
const OWNERS = [0, 1];

interface Stage {
  readonly cluster: TestCluster;
  readonly trainers: readonly TrainerWorker[];
  readonly forward: (owner: number) => Promise<CommandOutcome | null>;
}

async function withTrainers(act: (stage: Stage) => Promise<void>): Promise<void> {
  const cluster = await startCluster({ cpSize: 3 });
  const trainers = OWNERS.map(() => startTrainer(WITH_FAULT_POINTS));
  const session = randomUUID();
  const limits = { deadlineMs: DEADLINE_MS, maxReplays: 0 };
  try {
    for (const ownerIndex of OWNERS) {
      const options = { address: cluster.address, session, ownerIndex, ownerCount: OWNERS.length, ...limits };
      await trainers[ownerIndex]!.tell({ kind: 'connect', options });
    }
    const attention = { causal: true };
    await act({
      cluster,
      trainers,
      forward: (owner) => {
        const rows = { begin: BEGINS[owner]!, end: BEGINS[owner + 1]! };
        return trainers[owner]!.tell({ kind: 'forward', shape: SHAPE, seed: 3, ...rows, attention });
      },
    });
  } finally {
    await Promise.all(trainers.map((trainer) => trainer.kill()));
    await cluster.stop();
  }
}

/** Resolves when the fault that is armed in a trainer happens. */
const hit = ({ child }: TrainerWorker): Promise<void> => new Promise((resolve) => onHit(child, resolve));

// Side by side: nearly all of their time is silence. What is stopped keeps its connections open.
describe.concurrent('a peer that is stopped in a step', () => {
  it(
    'is found before the deadline when it is a rank, and every owner hears which',
    async ({ expect }) => {
      await withTrainers(async ({ cluster, trainers, forward }) => {
        const pid = cluster.pidOf(1);
        const stopped = hit(trainers[0]!);
        // All have agreed, no row has moved.
        await arm(trainers[0]!.child, { point: 'prepare', pass: 'forward', pid, signal: 'SIGSTOP' });
        try {
          const outcomes = Promise.all(OWNERS.map(forward));
          await stopped;
          for (const outcome of await outcomes) {
            expect(outcome?.error).toMatchObject({ code: 'PEER_LOST', details: { peer: 'rank 1' } });
          }
        } finally {
          process.kill(pid, 'SIGCONT');
        }
      });
    },
    TEST_MS,
  );

  it(
    'is found before the deadline when it is an owner, and the other hears which',
    async ({ expect }) => {
      await withTrainers(async ({ trainers, forward }) => {
        const victim = trainers[1]!;
        const stopped = hit(victim);
        await arm(victim.child, { point: 'prepare', pass: 'forward', pid: null, signal: 'SIGSTOP' });
        const [outcome] = OWNERS.map(forward);
        await stopped;
        expect((await outcome)?.error).toMatchObject({ code: 'PEER_LOST', details: { peer: 'owner 1' } });
        expect(victim.alive).toBe(true);
      });
    },
    TEST_MS,
  );
});
