import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect, UlyssesContextAttention } from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { namedSharedFiles, sharedMappings } from '../support/shared-mappings.js';
import { stepInputs } from '../support/step-inputs.js';
import type { TrainerCall } from '../support/trainer-process.js';

const CP_SIZE = 3;
const UNTIL_MS = 10_000;
/** Long enough that a process dies in the middle of it, on any machine. */
const LONG = { rows: 3001, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 };

let cluster: TestCluster;
const shmBefore = ownSharedFiles();

beforeAll(async () => {
  cluster = await startCluster({ cpSize: CP_SIZE });
});
afterAll(async () => {
  await cluster.stop();
});

function rankPids(): number[] {
  return Array.from({ length: CP_SIZE }, (_, rank) => cluster.pidOf(rank));
}

/** The one piece of memory that a process shares. */
function ownMemory(pid: number): string {
  const [file, ...more] = sharedMappings(pid).own;
  expect(more).toEqual([]);
  return file!;
}

/** Names in /dev/shm of files of this user, whatever they are called. */
function ownSharedFiles(): string[] {
  return readdirSync('/dev/shm').filter((name) => {
    // Another process may remove its own meanwhile.
    const file = lstatSync(`/dev/shm/${name}`, { throwIfNoEntry: false });
    return file?.uid === process.getuid!();
  });
}

function newSharedFiles(): string[] {
  return ownSharedFiles().filter((name) => !shmBefore.includes(name));
}

function readersOf(file: string, pids: readonly number[]): number[] {
  return pids.filter((pid) => sharedMappings(pid).ofPeers.has(file));
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + UNTIL_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${UNTIL_MS} ms: ${String(holds)}`);
    await setImmediate();
  }
}

async function startTrainer(): Promise<ChildProcess> {
  const call: TrainerCall = {
    address: cluster.address,
    session: 'killed',
    ownerIndex: 0,
    ownerCount: 1,
    shape: LONG,
    seed: 3,
    begin: 0,
    end: LONG.rows,
    form: { layout: 'sbhd', dtype: 'f32' },
    lengths: [LONG.rows],
    deadlineMs: 60_000,
  };
  const program = fileURLToPath(new URL('../dist/support/trainer-process.js', import.meta.url));
  const trainer = fork(program, [JSON.stringify(call)], { serialization: 'advanced', stdio: 'inherit' });
  await once(trainer, 'message');
  trainer.send('go');
  return trainer;
}

describe('memory that processes of one host share', () => {
  it('is let go by ranks when a trainer is killed in the middle of a step', async () => {
    const trainer = await startTrainer();
    await cluster.untilStepRuns();
    const file = ownMemory(trainer.pid!);
    // It dials when its step is planned.
    await until(() => readersOf(file, rankPids()).length > 0);
    expect(namedSharedFiles(trainer.pid!)).toEqual([]);
    const exited = once(trainer, 'exit');
    trainer.kill('SIGKILL');
    await exited;
    expect(newSharedFiles()).toEqual([]);
    await until(() => readersOf(file, rankPids()).length === 0);
    await cluster.untilIdle();
  });

  it('is let go by ranks and trainers when a rank is killed in the middle of a step, which is replayed', async () => {
    const connection = await connect({ address: cluster.address });
    const { q, k, v } = stepInputs(LONG, 5);
    const forward = new UlyssesContextAttention(null, connection, { keep: 'none' }).forward(q, k, v);
    await cluster.untilStepRuns();
    const [rank0, killed, rank2] = rankPids() as [number, number, number];
    const file = ownMemory(killed);
    expect(readersOf(file, [rank0, rank2])).toEqual([rank0, rank2]);
    for (const pid of rankPids()) expect(namedSharedFiles(pid)).toEqual([]);
    cluster.kill(1);
    await cluster.untilComplete();
    expect(newSharedFiles()).toEqual([]);
    await forward;
    await until(() => readersOf(file, [rank0, rank2, process.pid]).length === 0);
    await connection.close();
    await until(() => sharedMappings(process.pid).ofPeers.size === 0);
  });

  it('leaves nothing in /dev/shm when all ranks are killed at once', async () => {
    const pids = rankPids();
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await until(() => pids.every((pid) => !isAlive(pid)));
    expect(newSharedFiles()).toEqual([]);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
