import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ClusterStatus } from '@ulysses/rpc';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { Parts, type Part } from '../support/parts.js';

const CLI = fileURLToPath(new URL('../../services/cli/dist/main.js', import.meta.url));

let redis: RedisProcess;
let parts: Parts;
let where: readonly string[];
let leader: Part;
let standby: Part;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(async () => {
  const [rendezvous, cluster] = [`redis://127.0.0.1:${redis.port}`, randomUUID()];
  where = ['--rendezvous', rendezvous, '--cluster', cluster];
  parts = new Parts({ rendezvous, cluster });
  leader = await parts.coordinator(2, '--lease', '1s');
  await parts.ranks(2);
  await parts.ready(leader.address, 2);
  standby = await parts.coordinator(2, '--lease', '1s');
  await parts.follows(standby.address, leader.address);
});
afterEach(() => parts.stop());

async function cli(...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, [CLI, ...args])).stdout;
}

async function refusal(...args: readonly string[]): Promise<string> {
  return await cli(...args).catch((error: unknown) => (error as { stderr: string }).stderr);
}

describe('a command finds the coordinator that leads', () => {
  it('from a standby alone, from several addresses of which some are dead, and from Redis', async () => {
    const both = `127.0.0.1:1,${standby.address}`;
    for (const how of [['--address', standby.address], ['--address', both], where]) {
      expect(await cli('status', ...how)).toContain('epoch 1; 2 of 2 ranks; steps');
    }
    expect(await cli('scale', '1', ...where)).toContain('has 1 ranks');
    await parts.ready(leader.address, 1);
    expect(await cli('scale', '2', '--address', both)).toContain('has 2 ranks');
    await parts.ready(leader.address, 2);
    expect(await cli('drain', '1', ...where)).toContain('rank 1 has left');
    await leader.end('SIGKILL');
    expect(await cli('status', ...where, '--timeout', '20s')).toContain('1 of 2 ranks, not serving');
  });

  it('and says what is missing: an address, a leader', async () => {
    expect(await refusal('status')).toContain('--address is missing, expected HOST:PORT of a coordinator');
    expect(await refusal('scale', 'many')).toMatch(/N is "many", expected a number\n.*--address is missing/);
    const nobody = ['--rendezvous', where[1]!, '--cluster', 'nobodys', '--timeout', '300ms'];
    expect(await refusal('status', ...nobody)).toContain('PEER_LOST: nobody leads cluster nobodys');
  });
});

describe('ulysses status --watch', () => {
  it('goes on under another leader, and ends with 0 on SIGINT', async () => {
    const address = `${leader.address},${standby.address}`;
    const args = ['status', '--watch', '--every', '50ms', '--json', '--address', address, '--timeout', '20s'];
    const watching = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(watching, 'exit');
    try {
      const lines = createInterface({ input: watching.stdout })[Symbol.asyncIterator]();
      const until = async (holds: (status: ClusterStatus) => boolean): Promise<void> => {
        for (;;) {
          const line = await lines.next();
          if (line.done === true) throw new Error('the watch ended');
          if (holds(JSON.parse(line.value) as ClusterStatus)) return;
        }
      };
      await until(({ complete, ranks }) => complete && ranks.length === 2);
      await leader.end('SIGKILL');
      await cli('scale', '1', '--address', address, '--timeout', '20s');
      await until(({ complete, ranks }) => complete && ranks.length === 1);
    } finally {
      watching.kill('SIGINT');
    }
    expect(await ended).toEqual([0, null]);
  });
});
