import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runTrainers, type TrainerAnswer } from '../support/trainer-process.js';

/** Runs a command as a user who has nothing here. */
const AS_ANOTHER = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
const AS_THE_SAME: readonly string[] = [];
const SHAPE = { rows: 801, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 };

const run = (place: readonly string[], ...argv: readonly string[]): SpawnSyncReturns<string> => {
  const [program = '', ...args] = [...place, ...argv];
  return spawnSync(program, args, { encoding: 'utf8' });
};

/** Why no process can be started as another user; null when one can. */
function whyNoOtherUser(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  const { error, status } = run(AS_ANOTHER, 'test', '-r', fileURLToPath(import.meta.url));
  if (error !== undefined) return 'setpriv is not installed';
  return status === 0 ? null : 'another user cannot read this folder';
}

// What a rank answers to one that dials its unix socket all the same, `tests/hostile_sharing.rs` of the data plane says.
const reason = whyNoOtherUser();

describe.skipIf(reason !== null)(
  `a process of another user of this host${reason === null ? '' : ` (not run: ${reason})`}`,
  () => {
    let cluster: TestCluster;
    beforeAll(async () => {
      cluster = await startCluster({ cpSize: 2 });
    });
    afterAll(async () => {
      await cluster.stop();
    });

    async function trained(place: readonly string[]): Promise<TrainerAnswer> {
      const owner = { address: cluster.address, session: randomUUID(), ownerIndex: 0, ownerCount: 1 };
      const inputs = { shape: SHAPE, seed: 3, begin: 0, end: SHAPE.rows, lengths: [SHAPE.rows] };
      const form = { layout: 'sbhd', dtype: 'f32' } as const;
      const [answer] = await runTrainers([{ ...owner, ...inputs, form, deadlineMs: 60_000 }], place);
      return answer!;
    }

    it('is served by TCP, to the bits that one of the same user gets by shared memory', async () => {
      const [same, other] = [await trained(AS_THE_SAME), await trained(AS_ANOTHER)];
      expect([same.error, other.error]).toEqual([null, null]);
      expect(same.counters.sharedConnections).toBeGreaterThan(0);
      expect(same.counters.sharedBytes).toBeGreaterThan(0);
      expect(other.counters.links).toBeGreaterThan(0);
      expect(other.counters).toMatchObject({ unixConnections: 0, sharedConnections: 0, sharedBytes: 0 });
      for (const name of ['out', 'dq', 'dk', 'dv'] as const) expect(other[name]).toEqual(same[name]);
    });

    it('cannot open the memory that a rank shares, nor find it', () => {
      const folder = `/proc/${cluster.pidOf(0)}/fd`;
      const file = readdirSync(folder)
        .map((number) => `${folder}/${number}`)
        .find((path) => readlinkSync(path).startsWith('/memfd:ulysses-arena'))!;
      // Whoever is root can.
      closeSync(openSync(file, 'r'));
      for (const command of [run(AS_ANOTHER, 'head', '-c', '1', file), run(AS_ANOTHER, 'ls', folder)]) {
        expect(command.status).not.toBe(0);
        expect(command.stdout).toBe('');
        expect(command.stderr).toContain('Permission denied');
      }
    });
  },
);
