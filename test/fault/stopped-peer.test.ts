import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { arm, onHit, WITH_FAULT_POINTS } from '../support/fault-point.js';
import { startTrainer, type CommandOutcome, type TrainerWorker } from '../support/trainer-worker.js';

/** How long a peer may be silent. */
const SILENT_PEER_MS = 4_000;
/** Of the steps. Whoever gets there, with DEADLINE, has not found who was silent; nor does a lease end before. */
const DEADLINE_MS = 10 * SILENT_PEER_MS;
const TEST_MS = 3 * DEADLINE_MS;
const SHAPE = { rows: 801, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 };
const BEGINS = [0, 300, SHAPE.rows];
const OWNERS = [0, 1];
const ROUTES = ['relay', 'direct'] as const;

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startCluster({
    cpSize: 3,
    flags: ['--silent-peer', `${SILENT_PEER_MS}ms`],
    env: { ULYSSES_LEASE: `${2 * DEADLINE_MS}ms` },
  });
});
afterAll(async () => {
  await cluster.stop();
});

interface Stage {
  readonly trainers: readonly TrainerWorker[];
  readonly forward: (owner: number) => Promise<CommandOutcome | null>;
}

async function withTrainers(
  route: (typeof ROUTES)[number],
  act: (stage: Stage) => Promise<void>,
): Promise<void> {
  const trainers = OWNERS.map(() => startTrainer(WITH_FAULT_POINTS));
  const common = { address: cluster.address, session: randomUUID(), ownerCount: OWNERS.length, route };
  const limits = { silentPeerMs: SILENT_PEER_MS, deadlineMs: DEADLINE_MS, maxReplays: 0 };
  try {
    for (const ownerIndex of OWNERS) {
      await trainers[ownerIndex]!.tell({ kind: 'connect', options: { ...common, ...limits, ownerIndex } });
    }
    const attention = { causal: true };
    const forward = (owner: number): Promise<CommandOutcome | null> => {
      const rows = { begin: BEGINS[owner]!, end: BEGINS[owner + 1]! };
      return trainers[owner]!.tell({ kind: 'forward', shape: SHAPE, seed: 3, ...rows, attention });
    };
    // So that all connections are there.
    for (const outcome of await Promise.all(OWNERS.map(forward))) expect(outcome?.error).toBeNull();
    await act({ trainers, forward });
  } finally {
    await Promise.all(trainers.map((trainer) => trainer.kill()));
  }
}

/** Resolves when the fault that is armed in a trainer happens. */
const hit = ({ child }: TrainerWorker): Promise<void> => new Promise((resolve) => onHit(child, resolve));

// What is stopped keeps its connections open, and the kernel acknowledges what is sent to it.
describe.each(ROUTES)('a peer that is stopped in a step, on route %s', (route) => {
  it(
    'is found before the deadline when it is an owner, and the other hears which',
    { timeout: TEST_MS },
    async () => {
      await withTrainers(route, async ({ trainers, forward }) => {
        const victim = trainers[1]!;
        const stopped = hit(victim);
        // All have agreed, no row has moved.
        await arm(victim.child, { point: 'prepare', pass: 'forward', pid: null, signal: 'SIGSTOP' });
        const [outcome] = OWNERS.map(forward);
        await stopped;
        expect((await outcome)?.error).toMatchObject({ code: 'PEER_LOST', details: { peer: 'owner 1' } });
        expect(victim.alive).toBe(true);
      });
    },
  );

  it(
    'is found before the deadline when it is a rank, and every owner hears which',
    { timeout: TEST_MS },
    async () => {
      await withTrainers(route, async ({ trainers, forward }) => {
        const pid = cluster.pidOf(1);
        const stopped = hit(trainers[0]!);
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
  );
});
