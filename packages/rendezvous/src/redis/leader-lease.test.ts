import { randomUUID } from 'node:crypto';
import { Deferred, createLogger } from '@ulysses/runtime';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../../../scripts/start-redis.mjs';
import { ManualClock } from '../manual-clock.js';
import { LeaderLease, findLeader } from './leader-lease.js';
import type { RedisConnection } from './redis-connection.js';
import { connectTo } from './store-in-redis.js';

const LEASE_MS = 60_000;

let server: RedisProcess;
let connection: RedisConnection;
let cluster: string;
let stops: AbortController[];

beforeAll(async () => {
  server = await startRedis();
  connection = connectTo(`redis://127.0.0.1:${server.port}`);
}, 60_000);
afterAll(async () => {
  connection.close();
  await server.stop();
});
beforeEach(() => {
  cluster = randomUUID();
  stops = [];
});
afterEach(() => {
  for (const stop of stops) stop.abort();
});

/** A coordinator's lease on a clock of its own. */
function candidate(address: string) {
  const clock = new ManualClock();
  const stop = new AbortController();
  stops.push(stop);
  const leads = new Deferred<number>();
  const lost = new Deferred<string>();
  const lease = new LeaderLease({
    connection,
    cluster,
    id: randomUUID(),
    address,
    leaseMs: LEASE_MS,
    onLead: leads.resolve,
    onLost: ({ message }) => {
      lost.resolve(message);
    },
    logger: createLogger({ name: 'test', level: 'silent' }),
    clock,
  });
  const ended = lease.run(stop.signal);
  const resign = async (): Promise<void> => {
    stop.abort();
    await ended;
  };
  return { lease, clock, resign, leads: leads.promise, lost: lost.promise };
}

/** The leader once Redis has answered what was asked before; all share one connection, which keeps order. */
async function leaderAfterwards() {
  await findLeader(connection, cluster);
  return await findLeader(connection, cluster);
}

async function loseData(): Promise<void> {
  const admin = new Redis(server.port, '127.0.0.1');
  await admin.flushall();
  admin.disconnect();
}

describe('a LeaderLease', () => {
  it('is held by one candidate, and the other knows whom', async () => {
    const first = candidate('a:1');
    expect(await first.leads).toBe(1);
    const second = candidate('b:1');
    expect(await leaderAfterwards()).toEqual({ address: 'a:1', term: 1 });
    expect(second.lease.leading).toBe(false);
    expect(second.lease.leader).toEqual({ address: 'a:1', term: 1 });
  });

  it('whose holder hears of a later term leads no more, and again only beyond that term', async () => {
    const first = candidate('a:1');
    await first.leads;
    first.lease.sawTerm(1);
    expect(first.lease.leading).toBe(true);
    first.lease.sawTerm(7);
    expect(first.lease.leading).toBe(false);
    expect(await first.lost).toContain('a rank obeys a leader of term 7');
    first.clock.advance(LEASE_MS / 3);
    expect(await leaderAfterwards()).toEqual({ address: 'a:1', term: 8 });
  });

  it('goes to the next candidate in a later term as soon as the holder gives it up', async () => {
    const first = candidate('a:1');
    await first.leads;
    const second = candidate('b:1');
    await leaderAfterwards();
    await first.resign();
    expect(await leaderAfterwards()).toBeNull();
    second.clock.advance(LEASE_MS / 3);
    expect(await second.leads).toBe(2);
    expect(await leaderAfterwards()).toEqual({ address: 'b:1', term: 2 });
  });

  it('stays with its holder when Redis loses it: who knew of the holder waits for the length of a lease', async () => {
    const first = candidate('a:1');
    await first.leads;
    const second = candidate('b:1');
    await leaderAfterwards();
    await loseData();
    second.clock.advance(LEASE_MS / 3);
    expect(await leaderAfterwards()).toBeNull();
    first.clock.advance(LEASE_MS / 3);
    expect(await leaderAfterwards()).toEqual({ address: 'a:1', term: 1 });
    expect(first.lease.leading).toBe(true);
  });

  it('goes to the candidate that has heard of no holder for so long, in a later term', async () => {
    const first = candidate('a:1');
    await first.leads;
    const second = candidate('b:1');
    await leaderAfterwards();
    await loseData();
    second.clock.advance(LEASE_MS);
    expect(await second.leads).toBe(2);
    // The first comes back from a long sleep: it asks, is told, and leads no more.
    first.clock.advance(LEASE_MS / 3);
    expect(await first.lost).toContain('coordinator b:1 leads in term 2');
  });

  it('is lost when it could not be renewed for its length, counted from the last renewal that was sent', async () => {
    const first = candidate('a:1');
    await first.leads;
    first.clock.advance(LEASE_MS);
    expect(await first.lost).toContain('could not be renewed');
  });
});
