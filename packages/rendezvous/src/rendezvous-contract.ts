import assert from 'node:assert/strict';
import { UlyssesError, type ErrorCode } from '@ulysses/errors';
import { PROTOCOL_VERSION, type JoinRequest, type Membership } from '@ulysses/rpc';
import type { MembershipStore } from './membership-store.js';

/** A fresh, empty store under test and what the suite needs to steer it. */
export interface StoreUnderTest {
  /** Two handles on the same store, as two processes would have them. */
  readonly store: MembershipStore;
  readonly other: MembershipStore;
  /** How exactly `advance` can be told to end: real time goes on beside it where a real server keeps the clock. */
  readonly resolutionMs: number;
  /** Lets time pass for the store's leases. */
  readonly advance: (ms: number) => Promise<void> | void;
  readonly setCpSize: (cpSize: number) => Promise<void> | void;
  readonly close: () => Promise<void> | void;
}

export type StoreFactory = (options: { cpSize: number; leaseMs: number }) => Promise<StoreUnderTest>;

/** One promise of the port. `check` throws when the adapter breaks it. */
export interface ContractCase {
  readonly title: string;
  readonly cpSize: number;
  readonly check: (subject: StoreUnderTest) => Promise<void>;
}

export const LEASE_MS = 60_000;

/** Runs one case against a fresh store. */
export async function checkContract({ cpSize, check }: ContractCase, create: StoreFactory): Promise<void> {
  const subject = await create({ cpSize, leaseMs: LEASE_MS });
  try {
    await check(subject);
  } finally {
    await subject.close();
  }
}

/** What every adapter of MembershipStore promises. */
export const RENDEZVOUS_CONTRACT: readonly ContractCase[] = [
  {
    title: 'members get the lowest free rank, in order, with the length of their lease',
    cpSize: 3,
    check: async ({ store, other }) => {
      assert.deepEqual([await ranks(store, 'a', 'b'), await ranks(other, 'c')], [[0, 1], [2]]);
      await store.leave('b');
      const lease = await other.join(request('d'));
      assert.deepEqual([lease.rank, lease.leaseMs], [1, LEASE_MS]);
    },
  },
  {
    title: 'a join beyond cp_size is OVERLOADED, and succeeds after a rank was freed',
    cpSize: 1,
    check: async ({ store, other }) => {
      await store.join(request('a'));
      await fails('OVERLOADED', other.join(request('b')));
      await store.leave('a');
      assert.equal((await other.join(request('b'))).rank, 0);
    },
  },
  {
    title: 'joining again as the same member changes nothing',
    cpSize: 2,
    check: async ({ store, other }) => {
      await ranks(store, 'a', 'b');
      const before = await current(store);
      assert.equal((await other.join(request('a'))).rank, 0);
      assert.deepEqual(await current(store), before);
    },
  },
  {
    title: 'a member that joins from other addresses is announced under a new epoch',
    cpSize: 1,
    check: async ({ store }) => {
      await store.join(request('a'));
      const { epoch } = await current(store);
      await store.join({ ...request('a'), tensorAddress: 'moved:1' });
      const after = await current(store);
      assert.ok(after.epoch > epoch);
      assert.equal(after.members[0]?.tensorAddress, 'moved:1');
    },
  },
  {
    title: 'another protocol version is UNSUPPORTED and takes no rank',
    cpSize: 1,
    check: async ({ store }) => {
      await fails('UNSUPPORTED', store.join({ ...request('old'), protocolVersion: '0' }));
      assert.equal((await store.join(request('a'))).rank, 0);
    },
  },
  {
    title: 'a complete set advances the epoch; an incomplete one is announced without',
    cpSize: 2,
    check: async ({ store }) => {
      assert.deepEqual(await current(store), { epoch: 0, cpSize: 2, complete: false, members: [] });
      await store.join(request('a'));
      const half = await current(store);
      assert.deepEqual([half.epoch, half.complete, names(half)], [0, false, ['a']]);
      await store.join(request('b'));
      const whole = await current(store);
      assert.deepEqual([whole.epoch, whole.complete, names(whole)], [1, true, ['a', 'b']]);
      const [a] = whole.members;
      assert.deepEqual(a, { rank: 0, member: 'a', controlAddress: 'a:1', tensorAddress: 'a:2' });
    },
  },
  {
    title: 'a lost member makes the set incomplete, and its replacement makes a new epoch',
    cpSize: 2,
    check: async ({ store }) => {
      await ranks(store, 'a', 'b');
      await store.revoke('a');
      const without = await current(store);
      assert.deepEqual([without.epoch, without.complete, names(without)], [1, false, ['b']]);
      await store.join(request('c'));
      const replaced = await current(store);
      assert.deepEqual([replaced.epoch, replaced.complete, names(replaced)], [2, true, ['c', 'b']]);
    },
  },
  {
    title: 'a lease that is renewed in time goes on; one that is not ends after its length',
    cpSize: 2,
    check: async ({ store, advance, resolutionMs }) => {
      await ranks(store, 'a', 'b');
      await advance(LEASE_MS - resolutionMs);
      assert.equal((await store.renew({ member: 'a', rank: 0, epoch: 1 })).epoch, 1);
      await advance(resolutionMs);
      const left = await current(store);
      assert.deepEqual([left.complete, names(left)], [false, ['a']]);
      await advance(LEASE_MS);
      assert.deepEqual(names(await current(store)), []);
    },
  },
  {
    title: 'a renewal gets back its own expired rank while nobody claimed it, under a new epoch',
    cpSize: 2,
    check: async ({ store, advance }) => {
      await ranks(store, 'a', 'b');
      await advance(LEASE_MS);
      await store.renew({ member: 'b', rank: 1, epoch: 1 });
      const half = await current(store);
      assert.deepEqual([half.complete, half.members[0]], [false, { rank: 1, ...addresses('b') }]);
      assert.equal((await store.renew({ member: 'a', rank: 0, epoch: 1 })).epoch, 2);
      const whole = await current(store);
      assert.deepEqual([whole.epoch, whole.complete, names(whole)], [2, true, ['a', 'b']]);
    },
  },
  {
    title: 'a renewal is LEASE_LOST when another holds the rank, and names it',
    cpSize: 1,
    check: async ({ store, other, advance }) => {
      await store.join(request('a'));
      await advance(LEASE_MS);
      await other.join(request('b'));
      const error = await fails('LEASE_LOST', store.renew({ member: 'a', rank: 0, epoch: 1 }));
      assert.match(error.message, /member b holds it/);
      assert.deepEqual(names(await current(store)), ['b']);
    },
  },
  {
    title: 'a renewal is LEASE_LOST for a stranger, for another rank, and after a revocation',
    cpSize: 2,
    check: async ({ store, other }) => {
      await store.join(request('a'));
      await fails('LEASE_LOST', store.renew({ member: 'x', rank: 1, epoch: 0 }));
      await fails('LEASE_LOST', store.renew({ member: 'a', rank: 1, epoch: 0 }));
      await other.revoke('a');
      await fails('LEASE_LOST', store.renew({ member: 'a', rank: 0, epoch: 0 }));
    },
  },
  {
    title: 'leaving and revoking twice, or without a lease, is fine and announces nothing',
    cpSize: 1,
    check: async ({ store }) => {
      await store.join(request('a'));
      await store.leave('a');
      const before = await current(store);
      await store.leave('a');
      await store.revoke('a');
      await store.revoke('never');
      assert.deepEqual(await current(store), before);
    },
  },
  {
    title: 'the epoch advances from the highest that a member has seen, also when its renewal is refused',
    cpSize: 1,
    check: async ({ store }) => {
      await fails('LEASE_LOST', store.renew({ member: 'a', rank: 0, epoch: 41 }));
      assert.equal((await store.join(request('a'))).epoch, 42);
      assert.equal((await store.renew({ member: 'a', rank: 0, epoch: 42 })).epoch, 42);
    },
  },
  {
    title: 'an epoch that no cluster can have reached is not believed of a member',
    cpSize: 2,
    check: async ({ store }) => {
      await ranks(store, 'a', 'b');
      const { epoch } = await current(store);
      assert.equal(
        (await store.renew({ member: 'a', rank: 0, epoch: Number.MAX_SAFE_INTEGER })).epoch,
        epoch,
      );
      assert.equal((await current(store)).epoch, epoch);
    },
  },
  {
    title: 'a complete set whose member has seen a higher epoch moves beyond it',
    cpSize: 1,
    check: async ({ store }) => {
      await store.join(request('a'));
      assert.equal((await store.renew({ member: 'a', rank: 0, epoch: 9 })).epoch, 10);
      assert.equal((await current(store)).epoch, 10);
      assert.equal((await store.renew({ member: 'a', rank: 0, epoch: 3 })).epoch, 10);
    },
  },
  {
    title: 'a watcher hears the membership now, then every change, each with its epoch',
    cpSize: 2,
    check: async ({ store, other, advance, resolutionMs }) => {
      const watcher = watch(store);
      assert.deepEqual(names(await watcher.next()), []);
      await other.join(request('a'));
      assert.deepEqual(names(await watcher.next()), ['a']);
      await other.join(request('b'));
      const whole = await watcher.next();
      assert.deepEqual([whole.epoch, whole.complete], [1, true]);
      await advance(LEASE_MS - resolutionMs);
      await other.renew({ member: 'b', rank: 1, epoch: 1 });
      await advance(resolutionMs);
      assert.deepEqual(names(await watcher.next()), ['b']);
      await watcher.stop();
    },
  },
  {
    title: 'a watch throws CANCELLED when its signal aborts',
    cpSize: 1,
    check: async ({ store }) => {
      const watcher = watch(store);
      await watcher.next();
      const pending = watcher.next();
      watcher.abort();
      await fails('CANCELLED', pending);
    },
  },
  {
    title: 'a smaller cp_size ends the leases beyond it, a larger one waits for more members',
    cpSize: 3,
    check: async ({ store, setCpSize }) => {
      await ranks(store, 'a', 'b', 'c');
      await setCpSize(2);
      const smaller = await current(store);
      assert.deepEqual([smaller.epoch, smaller.complete, names(smaller)], [2, true, ['a', 'b']]);
      await fails('LEASE_LOST', store.renew({ member: 'c', rank: 2, epoch: 1 }));
      await setCpSize(3);
      const larger = await current(store);
      assert.deepEqual([larger.epoch, larger.cpSize, larger.complete], [2, 3, false]);
      assert.equal((await store.join(request('d'))).rank, 2);
      assert.equal((await current(store)).epoch, 3);
    },
  },
];

function addresses(member: string) {
  return { member, controlAddress: `${member}:1`, tensorAddress: `${member}:2` };
}

function request(member: string): JoinRequest {
  return { ...addresses(member), protocolVersion: PROTOCOL_VERSION };
}

async function ranks(store: MembershipStore, ...members: string[]): Promise<number[]> {
  const taken: number[] = [];
  for (const member of members) taken.push((await store.join(request(member))).rank);
  return taken;
}

function names({ members }: Membership): string[] {
  return members.map(({ member }) => member);
}

async function current(store: MembershipStore): Promise<Membership> {
  const watcher = watch(store);
  const membership = await watcher.next();
  await watcher.stop();
  return membership;
}

function watch(store: MembershipStore) {
  const controller = new AbortController();
  const iterator = store.watch(controller.signal)[Symbol.asyncIterator]();
  return {
    async next(): Promise<Membership> {
      const result = await iterator.next();
      assert.ok(result.done !== true, 'the watch ended');
      return result.value;
    },
    abort: () => {
      controller.abort();
    },
    async stop(): Promise<void> {
      controller.abort();
      await iterator.return?.();
    },
  };
}

async function fails(code: ErrorCode, promise: Promise<unknown>): Promise<UlyssesError> {
  const thrown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof UlyssesError, `expected ${code}, got ${String(thrown)}`);
  assert.equal(thrown.code, code, thrown.message);
  return thrown;
}
