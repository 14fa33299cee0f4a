import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { fileURLToPath } from 'node:url';
import { connect, UlyssesContextAttention, type AttentionResult } from '@ulysses/client';
import { RedisStore, openRedis } from '@ulysses/rendezvous';
import { PROTOCOL_VERSION, connectCoordinator, type ClusterStatus } from '@ulysses/rpc';
import { createLogger } from '@ulysses/runtime';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { startProcess } from '../support/cluster.js';
import { Parts } from '../support/parts.js';
import { stepInputs } from '../support/step-inputs.js';

const LONG = stepInputs({ rows: 4001, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 }, 3);

let redis: RedisProcess;
let parts: Parts;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(() => {
  const rendezvous = `redis://127.0.0.1:${redis.port}`;
  parts = new Parts({ rendezvous, cluster: randomUUID() });
});
afterEach(() => parts.stop());

/** One forward through the cluster, and the replays that it took. */
async function forward(address: string): Promise<{ result: AttentionResult; replays: string[] }> {
  const replays: string[] = [];
  const connection = await connect({ address, onReplay: ({ code }) => replays.push(code) });
  try {
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    return { result: await attention.forward(LONG.q, LONG.k, LONG.v), replays };
  } finally {
    await connection.close();
  }
}

const membersOf = ({ ranks }: ClusterStatus): string[] => ranks.map(({ rank }) => rank.member);
const running = ({ ranks }: ClusterStatus): boolean =>
  ranks.length > 0 && ranks.every(({ stepsRunning }) => stepsRunning > 0);

describe('parts that are started by hand', () => {
  it('find each other through Redis, whichever is first, and leave it as they found it', async () => {
    const ranks = parts.ranks(3);
    const coordinator = await parts.coordinator(3);
    const { epoch } = await parts.ready(coordinator.address, 3);
    expect(epoch).toBe(1);
    expect((await forward(coordinator.address)).replays).toEqual([]);
    const [first, ...others] = await ranks;
    expect(await first!.end('SIGTERM')).toBe(0);
    const left = await parts.until(
      coordinator.address,
      'a rank has left',
      (status) => status.ranks.length === 2,
    );
    expect(membersOf(left).sort()).toEqual(others.map(({ member }) => member).sort());
    for (const part of [...others, coordinator]) expect(await part.end('SIGTERM')).toBe(0);
  });
});

describe('a coordinator of another protocol version than the members', () => {
  it('ends with an error that names both versions', async () => {
    const cluster = randomUUID();
    const rendezvous = `redis://127.0.0.1:${redis.port}`;
    const tls = { redisCa: null, redisCert: null, redisKey: null };
    const connection = openRedis(rendezvous, tls, createLogger({ name: 'older', level: 'silent' }));
    const store = new RedisStore({ connection, cluster });
    const older = { protocolVersion: 'older' };
    const settings = { cpSize: 2, leaseMs: 60_000, ...older };
    await store.configure(settings);
    await store.join({ member: 'a', controlAddress: 'a:1', tensorAddress: 'a:2', ...older });
    store.close();

    const program = fileURLToPath(new URL('../../services/coordinator/dist/main.js', import.meta.url));
    const where = ['--rendezvous', rendezvous, '--cluster', cluster];
    const { child, log } = await startProcess([program, ...where, '--context-parallel-size', '2']);
    const [code] = (await once(child, 'close')) as [number | null];
    expect(code).toBe(1);
    const said = log.map((line) => JSON.parse(line) as { msg: string; code?: string; reason?: string });
    expect(said.find(({ msg }) => msg === 'leading refused')).toMatchObject({
      code: 'UNSUPPORTED',
      reason: `protocol_version is "${PROTOCOL_VERSION}", expected older, as the members of this cluster speak`,
    });
  });
});

describe('Redis dies', () => {
  it('and comes back empty within a lease: the running step ends as if nothing happened, the epoch stays, and ranks can be replaced', async () => {
    const lease = ['--lease', '10s'];
    const coordinator = await parts.coordinator(3, ...lease);
    const ranks = await parts.ranks(3);
    const before = await parts.ready(coordinator.address, 3);
    const expected = await forward(coordinator.address);

    const disturbed = forward(coordinator.address);
    await parts.until(coordinator.address, 'a step runs', running);
    await redis.stop();
    redis = await startRedis({ port: redis.port });
    const { result, replays } = await disturbed;
    expect(replays).toEqual([]);
    expect(Buffer.compare(bytes(result.out.data), bytes(expected.result.out.data))).toBe(0);

    // An age of 0 is that of a lease that Redis could not be asked for. Time for every renewal: a lease of ten seconds is renewed every three.
    const proven = await parts.until(
      coordinator.address,
      'every lease is renewed',
      ({ ranks: seen }) =>
        seen.length === 3 && seen.every(({ leaseAgeMs }) => leaseAgeMs > 0 && leaseAgeMs < 3_400),
    );
    expect(proven.epoch).toBe(before.epoch);
    expect(membersOf(proven)).toEqual(membersOf(before));

    await ranks[1]!.end('SIGKILL');
    const replacement = await parts.rank();
    const after = await parts.ready(coordinator.address, 3);
    expect(after.epoch).toBe(before.epoch + 1);
    expect(membersOf(after)).toContain(replacement.member);
    expect((await forward(coordinator.address)).replays).toEqual([]);
  });

  it('for longer than a lease: ranks stop serving, and serve again when it is back, in no earlier epoch', async () => {
    const coordinator = await parts.coordinator(2, '--lease', '1s');
    await parts.ranks(2);
    const before = await parts.ready(coordinator.address, 2);
    const expected = await forward(coordinator.address);
    await redis.stop();
    const client = connectCoordinator(coordinator.address);
    const refusal = async (): Promise<string> =>
      await client.getStatus({}).then(
        () => '',
        (thrown: unknown) => (thrown as Error).message,
      );
    let message = '';
    while (message === '') message = await refusal();
    expect(message).toContain('does not lead');
    client.close();
    redis = await startRedis({ port: redis.port });
    const after = await parts.ready(coordinator.address, 2);
    expect(after.epoch).toBeGreaterThanOrEqual(before.epoch);
    const { result } = await forward(coordinator.address);
    expect(Buffer.compare(bytes(result.out.data), bytes(expected.result.out.data))).toBe(0);
  });
});

describe('a Sentinel fails over to a replica that missed the last change of membership', () => {
  it('and the step that runs ends as if nothing happened, in the same epoch, with the same members, which can be replaced then', async () => {
    const master = await startRedis();
    const replica = await startRedis({ options: ['--replicaof', `127.0.0.1 ${master.port}`] });
    const sentinel = await startRedis({
      sentinel: [
        `sentinel monitor main 127.0.0.1 ${master.port} 1`,
        'sentinel down-after-milliseconds main 1000',
        'sentinel failover-timeout main 3000',
      ].join('\n'),
    });
    const rendezvous = `redis+sentinel://127.0.0.1:${sentinel.port}/main`;
    const behind = new Parts({ rendezvous, cluster: randomUUID() });
    try {
      const coordinator = await behind.coordinator(2, '--lease', '30s');
      const [first, second] = await behind.ranks(2);
      await behind.ready(coordinator.address, 2);
      // The replica stands still and is cut off: what changes from now on it will never have heard of.
      process.kill(replica.pid, 'SIGSTOP');
      await sendRedis(master.port, 'CLIENT KILL TYPE replica');
      await first!.end('SIGTERM');
      await behind.rank();
      const before = await behind.ready(coordinator.address, 2);
      expect(before.epoch).toBe(2);

      const disturbed = forward(coordinator.address);
      await behind.until(coordinator.address, 'a step runs', running);
      await master.stop();
      process.kill(replica.pid, 'SIGCONT');
      expect((await disturbed).replays).toEqual([]);

      const proven = await behind.until(coordinator.address, 'every lease is renewed', ({ ranks }) => {
        return ranks.length === 2 && ranks.every(({ leaseAgeMs }) => leaseAgeMs > 0 && leaseAgeMs < 5_000);
      });
      expect(await sendRedis(replica.port, 'ROLE')).toContain('master');
      expect(proven.epoch).toBe(2);
      expect(membersOf(proven)).toEqual(membersOf(before));
      expect((await forward(coordinator.address)).replays).toEqual([]);

      // Membership changes again, from the epoch that the replica never heard of.
      await second!.end('SIGTERM');
      const { member } = await behind.rank();
      const changed = await behind.ready(coordinator.address, 2);
      expect(changed.epoch).toBe(3);
      expect(membersOf(changed)).toContain(member);
      expect((await forward(coordinator.address)).replays).toEqual([]);
    } finally {
      await behind.stop();
      await Promise.all([sentinel, replica, master].map((each) => each.stop()));
    }
  });
});

describe('two clusters in one Redis', () => {
  it('never meet: not their ranks, not their steps, not their epochs, and not when Redis comes back empty', async () => {
    const other = new Parts({ rendezvous: `redis://127.0.0.1:${redis.port}`, cluster: randomUUID() });
    try {
      const lease = ['--lease', '10s'];
      const [blue, green] = [await parts.coordinator(2, ...lease), await other.coordinator(3, ...lease)];
      // All start at once; nothing but the name tells whose they are.
      const [blueRanks, greenRanks] = await Promise.all([parts.ranks(2), other.ranks(3)]);
      const expectApart = async (): Promise<void> => {
        const statuses = [await parts.ready(blue.address, 2), await other.ready(green.address, 3)];
        expect(statuses.map((status) => membersOf(status).sort())).toEqual(
          [blueRanks, greenRanks].map((ranks) => ranks.map(({ member }) => member).sort()),
        );
        const both = await Promise.all([forward(blue.address), forward(green.address)]);
        expect(both.map(({ replays }) => replays)).toEqual([[], []]);
      };
      await expectApart();
      await redis.stop();
      redis = await startRedis({ port: redis.port });
      await expectApart();

      await blueRanks[0]!.end('SIGTERM');
      blueRanks[0] = await parts.rank();
      await expectApart();
      expect((await parts.ready(blue.address, 2)).epoch).toBe(2);
      expect((await other.ready(green.address, 3)).epoch).toBe(1);
    } finally {
      await other.stop();
    }
  });
});

/** Sends one inline command and resolves with the first part of the answer. */
async function sendRedis(port: number, command: string): Promise<string> {
  const socket = createConnection(port, '127.0.0.1');
  socket.write(`${command}\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return answer.toString();
}

function bytes({ buffer, byteOffset, byteLength }: NodeJS.TypedArray): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
