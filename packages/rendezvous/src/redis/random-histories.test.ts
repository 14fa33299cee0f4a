import { randomUUID } from 'node:crypto';
import { UlyssesError } from '@ulysses/errors';
import { PROTOCOL_VERSION, type Membership } from '@ulysses/rpc';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../../../scripts/start-redis.mjs';
import type { RedisConnection } from './redis-connection.js';
import { RedisStore } from './redis-store.js';
import { script } from './redis-connection.js';
import { connectTo, membershipKey, passTime } from './store-in-redis.js';

const LEASE_MS = 60_000;
const MEMBERS = ['a', 'b', 'c', 'd'] as const;

/** What may happen, in any order. A backup restored is a failover to a replica that lags. */
type Event =
  | { readonly kind: 'join' | 'renew' | 'leave'; readonly member: number }
  | { readonly kind: 'time'; readonly ms: number }
  | { readonly kind: 'resize'; readonly cpSize: number }
  | { readonly kind: 'lose' | 'backup' | 'restore' };

const member = fc.nat(MEMBERS.length - 1);
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('join' as const), member }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('renew' as const), member }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), member }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.constantFrom(LEASE_MS / 2, LEASE_MS) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('resize' as const), cpSize: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom('lose' as const, 'backup' as const, 'restore' as const) }),
  },
);

const RAW = {
  get: script(`return cjson.encode(redis.call('GET', KEYS[1]) or '')`),
  set: script(`redis.call('SET', KEYS[1], cjson.decode(ARGV[1])) return '{}'`),
  lose: script(`redis.call('DEL', KEYS[1]) return '{}'`),
};

let server: RedisProcess;
let connection: RedisConnection;
beforeAll(async () => {
  server = await startRedis();
  connection = connectTo(`redis://127.0.0.1:${server.port}`);
}, 60_000);
afterAll(async () => {
  connection.close();
  await server.stop();
});

/** One cluster: a store per member as if each were a process, and what all of them were told. */
class History {
  readonly #cluster = randomUUID();
  readonly #key = membershipKey(this.#cluster);
  readonly #stores = MEMBERS.map(() => new RedisStore({ connection, cluster: this.#cluster }));
  readonly #coordinator = new RedisStore({ connection, cluster: this.#cluster });
  readonly #ranks = new Map<number, number>();
  readonly #sets = new Map<number, string>();
  #backup = '';
  #epoch = 0;

  async begin(): Promise<void> {
    await this.#coordinator.configure({ cpSize: 2, leaseMs: LEASE_MS });
  }

  async apply(next: Event): Promise<void> {
    await this.#change(next).catch((thrown: unknown) => {
      const refused =
        thrown instanceof UlyssesError && ['OVERLOADED', 'LEASE_LOST', 'PEER_LOST'].includes(thrown.code);
      if (!refused) throw thrown;
      if (next.kind === 'renew') this.#ranks.delete(next.member);
    });
    await this.#coordinator.leaseAges();
    this.#check(this.#coordinator.membership);
  }

  async #change(next: Event): Promise<void> {
    switch (next.kind) {
      case 'join': {
        const { rank, epoch } = await this.#store(next.member).join(address(next.member));
        this.#ranks.set(next.member, rank);
        this.#told(epoch);
        break;
      }
      case 'renew': {
        const rank = this.#ranks.get(next.member);
        if (rank === undefined) break;
        const name = MEMBERS[next.member]!;
        this.#told((await this.#store(next.member).renew({ member: name, rank, epoch: 0 })).epoch);
        break;
      }
      case 'leave':
        this.#ranks.delete(next.member);
        await this.#store(next.member).leave(MEMBERS[next.member]!);
        break;
      case 'time':
        if ((await this.#stored()) !== '') await passTime(connection, this.#cluster, next.ms);
        break;
      case 'resize':
        await this.#coordinator.setCpSize(next.cpSize);
        break;
      case 'lose':
        await connection.run(RAW.lose, this.#key, {});
        break;
      case 'backup':
        this.#backup = await this.#stored();
        break;
      case 'restore':
        if (this.#backup !== '') await connection.run(RAW.set, this.#key, this.#backup);
        break;
    }
  }

  #store(member: number): RedisStore {
    return this.#stores[member]!;
  }

  async #stored(): Promise<string> {
    return (await connection.run(RAW.get, this.#key, {})) as string;
  }

  /** What a member was told; its own epoch may lag behind another's, but the cluster's never does. */
  #told(epoch: number): void {
    this.#epoch = Math.max(this.#epoch, epoch);
  }

  #check(membership: Membership): void {
    const { epoch, cpSize, complete, members } = membership;
    expect(new Set(members.map(({ rank }) => rank)).size).toBe(members.length);
    expect(new Set(members.map(({ member: name }) => name)).size).toBe(members.length);
    expect(members.every(({ rank }) => rank < cpSize)).toBe(true);
    if (!complete) return;
    expect(epoch).toBeGreaterThanOrEqual(this.#epoch);
    this.#told(epoch);
    const set = JSON.stringify(members);
    expect(this.#sets.get(epoch) ?? set).toBe(set);
    this.#sets.set(epoch, set);
  }
}

function address(index: number) {
  const name = MEMBERS[index]!;
  return {
    member: name,
    controlAddress: `${name}:1`,
    tensorAddress: `${name}:2`,
    protocolVersion: PROTOCOL_VERSION,
  };
}

describe('any history of joins, renewals, resizing, time, lost data and stale replicas', () => {
  it('announces complete sets whose epochs never go back, and never two sets under one epoch', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 10, maxLength: 60 }), async (events) => {
        const history = new History();
        await history.begin();
        for (const each of events) await history.apply(each);
      }),
      { numRuns: 200 },
    );
  });
});
