import { randomUUID } from 'node:crypto';
import { UlyssesError, type ErrorCode } from '@ulysses/errors';
import { PROTOCOL_VERSION, type JoinRequest, type Membership } from '@ulysses/rpc';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../../../scripts/start-redis.mjs';
import type { RedisConnection } from './redis-connection.js';
import { RedisStore } from './redis-store.js';
import { connectTo, membershipKey, passTime } from './store-in-redis.js';

const LEASE_MS = 60_000;

let server: RedisProcess;
let admin: Redis;
let cluster: string;
let closing: (() => void)[];

beforeAll(async () => {
  server = await startRedis();
}, 60_000);
afterAll(() => server.stop());

beforeEach(() => {
  cluster = randomUUID();
  closing = [];
  admin = new Redis(server.port, '127.0.0.1');
  admin.on('error', () => undefined);
});
afterEach(() => {
  for (const close of closing) close();
  admin.disconnect();
});

const url = (): string => `redis://127.0.0.1:${server.port}`;

function connection(): RedisConnection {
  const opened = connectTo(url());
  closing.push(() => {
    opened.close();
  });
  return opened;
}

/** A store as another process would have it. */
function newStore(name = cluster): RedisStore {
  const store = new RedisStore({ connection: connection(), cluster: name });
  closing.push(() => {
    store.close();
  });
  return store;
}

/** A complete cluster, each member with a process of its own, all of which know its epoch. */
async function complete(...members: string[]): Promise<RedisStore[]> {
  const stores = members.map(() => newStore());
  await stores[0]!.configure({ cpSize: members.length, leaseMs: LEASE_MS });
  for (const [rank, member] of members.entries()) await stores[rank]!.join(request(member));
  for (const [rank, member] of members.entries()) await stores[rank]!.renew({ member, rank, epoch: 0 });
  return stores;
}

function request(member: string): JoinRequest {
  return {
    member,
    controlAddress: `${member}:1`,
    tensorAddress: `${member}:2`,
    protocolVersion: PROTOCOL_VERSION,
  };
}

async function fails(code: ErrorCode, promise: Promise<unknown>): Promise<UlyssesError> {
  const thrown: unknown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(UlyssesError);
  expect((thrown as UlyssesError).code, (thrown as UlyssesError).message).toBe(code);
  return thrown as UlyssesError;
}

function watch(store: RedisStore) {
  const stop = new AbortController();
  closing.push(() => {
    stop.abort();
  });
  const iterator = store.watch(stop.signal)[Symbol.asyncIterator]();
  return async (): Promise<Membership> => (await iterator.next()).value as Membership;
}

const names = ({ members }: Membership): string[] => members.map(({ member }) => member);

describe('a Redis that keeps its data', () => {
  it('holds two clusters that never meet', async () => {
    const [a, b] = [newStore('one'), newStore('two')];
    await a.configure({ cpSize: 1, leaseMs: LEASE_MS });
    await b.configure({ cpSize: 2, leaseMs: LEASE_MS });
    expect((await a.join(request('a'))).epoch).toBe(1);
    expect((await b.join(request('b'))).rank).toBe(0);
    await b.revoke('a');
    expect((await a.renew({ member: 'a', rank: 0, epoch: 7 })).epoch).toBe(8);
    expect(await watch(b)()).toMatchObject({ epoch: 0, cpSize: 2, members: [{ member: 'b' }] });
  });

  it('lets no rank join before a coordinator has said how many there are', async () => {
    const error = await fails('PEER_LOST', newStore().join(request('a')));
    expect(error.message).toContain('no coordinator has said');
    expect(error.details).toEqual({
      field: 'cp_size',
      value: 'unknown',
      expected: 'the number of ranks, from a coordinator of this cluster',
      peer: 'coordinator',
    });
  });

  it('is subscribed to as long as somebody watches, and again for the next who does', async () => {
    const store = newStore();
    await store.configure({ cpSize: 1, leaseMs: LEASE_MS });
    const subscribers = async (): Promise<number> =>
      Number((await admin.pubsub('NUMSUB', membershipKey(cluster)))[1]);
    const until = async (count: number): Promise<void> => {
      while ((await subscribers()) !== count);
    };
    for (const epoch of [0, 0]) {
      const watchers = [new AbortController(), new AbortController()];
      const watching = watchers.map(({ signal }) => store.watch(signal)[Symbol.asyncIterator]());
      for (const each of watching) expect((await each.next()).value).toMatchObject({ epoch });
      await until(1);
      for (const [i, each] of watching.entries()) {
        expect(await subscribers()).toBe(1);
        watchers[i]!.abort();
        await expect(each.next()).rejects.toThrow();
      }
      await until(0);
    }
  });

  it('keeps a size that is set already: it may be the result of scaling', async () => {
    const store = newStore();
    await store.configure({ cpSize: 2, leaseMs: LEASE_MS });
    await store.setCpSize(3);
    await newStore().configure({ cpSize: 2, leaseMs: LEASE_MS });
    expect((await watch(store)()).cpSize).toBe(3);
  });

  it('refuses members of another protocol version, and a coordinator while there are such members', async () => {
    const [a] = await complete('a');
    const stored = (await admin.get(membershipKey(cluster))) ?? '';
    const older = { ...(JSON.parse(stored) as object), protocolVersion: 'older' };
    await admin.set(membershipKey(cluster), JSON.stringify(older));
    const error = await fails('UNSUPPORTED', newStore().join(request('b')));
    expect(error.message).toContain(`protocol_version is "${PROTOCOL_VERSION}", expected older`);
    expect(error.details['member']).toBe('b');
    const configured = newStore().configure({ cpSize: 1, leaseMs: LEASE_MS });
    expect((await fails('UNSUPPORTED', configured)).details['member']).toBe('coordinator');
    await a!.leave('a');
    await newStore().configure({ cpSize: 1, leaseMs: LEASE_MS });
    expect((await newStore().join(request('b'))).rank).toBe(0);
  });

  it('tells a watcher that a lease ended, although nobody else looks', async () => {
    const store = newStore();
    await store.configure({ cpSize: 1, leaseMs: 100 });
    const next = watch(newStore());
    await next();
    await store.join(request('a'));
    expect(names(await next())).toEqual(['a']);
    expect(names(await next())).toEqual([]);
  });

  it('forgets a cluster that nobody uses: every key expires', async () => {
    await complete('a', 'b');
    const keys = await admin.keys(`*${cluster}*`);
    expect(keys).toEqual([membershipKey(cluster)]);
    expect(await admin.pttl(membershipKey(cluster))).toBeGreaterThan(LEASE_MS);
  });
});

describe('a Redis that lost its data', () => {
  it('gets every holder back at the same epoch, and a watcher hears of nothing', async () => {
    const [a, b, c] = await complete('a', 'b', 'c');
    const next = watch(a!);
    const before = await next();
    await admin.flushall();
    await c!.renew({ member: 'c', rank: 2, epoch: 1 });
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    expect((await b!.renew({ member: 'b', rank: 1, epoch: 1 })).epoch).toBe(1);
    expect(await watch(newStore())()).toEqual(before);
    expect((await a!.renew({ member: 'a', rank: 0, epoch: 1 })).epoch).toBe(1);
    // What the watcher hears next is the next real change.
    await c!.leave('c');
    expect(names(await next())).toEqual(['a', 'b']);
  });

  it('gives no rank away while its holder may return, and announces who did not after the length of a lease', async () => {
    const [a] = await complete('a', 'b');
    const next = watch(a!);
    await next();
    await admin.flushall();
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    const newcomer = newStore();
    const error = await fails('OVERLOADED', newcomer.join(request('c')));
    expect(error.message).toContain('lost its data');
    const expected = 'one that held a lease before Redis lost its data';
    expect(error.details).toEqual({ field: 'member', value: 'c', expected });
    await passTime(connection(), cluster, LEASE_MS / 2);
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    await passTime(connection(), cluster, LEASE_MS / 2);
    expect(await next()).toMatchObject({ epoch: 1, complete: false, members: [{ member: 'a' }] });
    expect(await newcomer.join(request('c'))).toMatchObject({ rank: 1, epoch: 2 });
  });

  it('never goes back behind an epoch that anybody has seen', async () => {
    const [a] = await complete('a');
    await admin.flushall();
    expect((await a!.renew({ member: 'a', rank: 0, epoch: 41 })).epoch).toBe(42);
  });

  it('is told how many ranks there are by the members', async () => {
    const [a, b] = await complete('a', 'b');
    await admin.flushall();
    await b!.renew({ member: 'b', rank: 1, epoch: 1 });
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    expect(await watch(newStore())()).toMatchObject({ epoch: 1, cpSize: 2, complete: true });
  });

  it('gives a rank to a new set under a new epoch', async () => {
    const [a, b] = await complete('a', 'b');
    await admin.flushall();
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    await passTime(connection(), cluster, LEASE_MS / 2);
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    await passTime(connection(), cluster, LEASE_MS / 2);
    await newStore().join(request('c'));
    await fails('LEASE_LOST', b!.renew({ member: 'b', rank: 1, epoch: 1 }));
    expect((await a!.renew({ member: 'a', rank: 0, epoch: 1 })).epoch).toBe(2);
  });
});

describe('a stale replica that took over', () => {
  it('trusts nobody that it still lists, and comes back to the newest epoch', async () => {
    const [a, b] = await complete('a', 'b');
    const stale = (await admin.get(membershipKey(cluster))) ?? '';
    await b!.leave('b');
    const c = newStore();
    expect(await c.join(request('c'))).toMatchObject({ rank: 1, epoch: 2 });
    await a!.renew({ member: 'a', rank: 0, epoch: 2 });
    const next = watch(a!);
    const before = await next();
    await admin.set(membershipKey(cluster), stale);
    await a!.renew({ member: 'a', rank: 0, epoch: 2 });
    expect((await c.renew({ member: 'c', rank: 1, epoch: 2 })).epoch).toBe(2);
    expect(await watch(newStore())()).toEqual(before);
  });

  it('is noticed by whose renewal it has missed, also when the members are the same', async () => {
    const [a, b] = await complete('a', 'b');
    const stale = (await admin.get(membershipKey(cluster))) ?? '';
    await passTime(connection(), cluster, LEASE_MS / 2);
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    await b!.renew({ member: 'b', rank: 1, epoch: 1 });
    await admin.set(membershipKey(cluster), stale);
    await passTime(connection(), cluster, LEASE_MS);
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    expect((await b!.renew({ member: 'b', rank: 1, epoch: 1 })).epoch).toBe(1);
  });
});

describe('a Redis that cannot be reached', () => {
  it('costs a call its deadline and no more, and nothing takes effect later', async () => {
    const [a] = await complete('a');
    await server.stop();
    const error = await fails('PEER_LOST', a!.revoke('a', { deadlineMs: 200 }));
    expect(error.message).toContain(`127.0.0.1:${server.port}`);
    server = await startRedis({ port: server.port });
    const renewed = await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    expect(renewed.epoch).toBe(1);
    expect(await watch(newStore())()).toMatchObject({ complete: true, members: [{ member: 'a' }] });
  });

  it('is given up by a watcher only when its own signal says so, and found again', async () => {
    const [a] = await complete('a');
    const next = watch(a!);
    await next();
    await server.stop();
    await fails('PEER_LOST', a!.renew({ member: 'a', rank: 0, epoch: 1 }, { deadlineMs: 100 }));
    server = await startRedis({ port: server.port });
    await a!.renew({ member: 'a', rank: 0, epoch: 1 });
    await a!.leave('a');
    expect(names(await next())).toEqual([]);
  });

  it('is DEADLINE when it is silent, and the next call connects anew', async () => {
    const [a] = await complete('a');
    process.kill(server.pid, 'SIGSTOP');
    const error = await fails('DEADLINE', a!.renew({ member: 'a', rank: 0, epoch: 1 }, { deadlineMs: 100 }));
    expect(error.message).toContain('did not answer within 100 ms');
    process.kill(server.pid, 'SIGCONT');
    expect((await a!.renew({ member: 'a', rank: 0, epoch: 1 })).epoch).toBe(1);
  });

  it('ends a call with the reason of its signal', async () => {
    const stop = new AbortController();
    const joining = newStore().join(request('a'), { signal: stop.signal });
    stop.abort(new UlyssesError('CANCELLED', 'enough'));
    expect((await fails('CANCELLED', joining)).message).toBe('enough');
  });
});
