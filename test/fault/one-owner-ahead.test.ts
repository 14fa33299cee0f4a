import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep, type WholeResult } from '../support/cluster-step.js';
import { arm, onHit, WITH_FAULT_POINTS } from '../support/fault-point.js';
import { stepInputs } from '../support/step-inputs.js';
import { startTrainer, type CommandOutcome, type TrainerWorker } from '../support/trainer-worker.js';
import { shareOf } from '../support/share-of.js';

const SEED = 9;
/** Ranks compute for a while after the last row has come. */
const SHAPE = { rows: 801, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 };
const BEGINS = [0, 100, 300, 650, SHAPE.rows];
const OWNERS = [0, 1, 2, 3];

let cluster: TestCluster;
let trainers: TrainerWorker[];
let expected: WholeResult;

beforeAll(async () => {
  cluster = await startCluster({ cpSize: 3 });
  trainers = OWNERS.map(() => startTrainer(WITH_FAULT_POINTS));
  const attention = { causal: true };
  expected = await runStep(
    { address: cluster.address, splits: [SHAPE.rows], attention },
    stepInputs(SHAPE, SEED),
  );
});
afterAll(async () => {
  await Promise.all(trainers.map((trainer) => trainer.kill()));
  await cluster.stop();
});

async function connect(): Promise<void> {
  const session = randomUUID();
  const ownerCount = OWNERS.length;
  for (const ownerIndex of OWNERS) {
    const options = { address: cluster.address, session, ownerIndex, ownerCount };
    await trainers[ownerIndex]!.tell({ kind: 'connect', options });
  }
}

function pass(kind: 'forward' | 'backward'): Promise<(CommandOutcome | null)[]> {
  return Promise.all(
    trainers.map((trainer, owner) => {
      const rows = { begin: BEGINS[owner]!, end: BEGINS[owner + 1]! };
      const forward = { shape: SHAPE, seed: SEED, ...rows, attention: { causal: true } };
      return trainer.tell(kind === 'backward' ? { kind } : { kind, ...forward });
    }),
  );
}

/** Resolves when its armed fault happens. */
const hit = ({ child }: TrainerWorker): Promise<void> => new Promise((resolve) => onHit(child, resolve));

describe('a rank is killed when one of four trainers has all of its results and the others have not', () => {
  it.each(['forward', 'backward'] as const)('of %s: all four end with the right ones', async (kind) => {
    await connect();
    if (kind === 'backward') await pass('forward');
    const [ahead, ...others] = trainers;
    // The others have sent all of their rows and then stand still; they cannot get what is computed from the last of them.
    const standing = others.map(hit);
    for (const { child } of others) {
      await arm(child, { point: 'sent', pass: kind, pid: null, signal: 'SIGSTOP' });
    }
    const pid = cluster.pidOf(1);
    const complete = hit(ahead!);
    await arm(ahead!.child, { point: 'received', pass: kind, pid, signal: 'SIGKILL' });
    const answers = pass(kind);
    await Promise.all([...standing, complete]);
    await cluster.untilReplaced(pid);
    for (const { child } of others) child.kill('SIGCONT');

    (await answers).forEach((outcome, owner) => {
      expect(outcome?.error).toBe(null);
      expect(outcome?.replays[0], `owner ${owner}`).toMatchObject({
        code: 'PEER_LOST',
        details: { peer: 'rank 1' },
      });
      const share = shareOf(expected, SHAPE, kind, BEGINS[owner]!, BEGINS[owner + 1]!);
      expect(outcome?.tensors.map((tensor, i) => Buffer.compare(bytes(tensor), bytes(share[i]!)))).toEqual(
        share.map(() => 0),
      );
    });
    for (const trainer of trainers) await trainer.tell({ kind: 'close' });
  });
});

function bytes({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
