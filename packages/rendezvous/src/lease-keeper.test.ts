import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UlyssesError } from '@ulysses/errors';
import { PROTOCOL_VERSION, type JoinRequest, type RenewRequest } from '@ulysses/rpc';
import { createLogger } from '@ulysses/runtime';
import { EmbeddedStore } from './embedded-store.js';
import { LeaseKeeper } from './lease-keeper.js';
import { ManualClock } from './manual-clock.js';
import type { MembershipStore } from './membership-store.js';

const LEASE_MS = 3000;

/** A store that can be cut off: while `down`, calls fail as they do when the coordinator's host is gone. */
class FlakyStore implements MembershipStore {
  store: EmbeddedStore;
  down = false;
  hangs = false;
  renewals = 0;

  constructor(store: EmbeddedStore) {
    this.store = store;
  }

  async join(request: JoinRequest) {
    this.#reach();
    return this.store.join(request);
  }

  async renew(request: RenewRequest) {
    this.renewals++;
    if (this.hangs) return new Promise<never>(() => undefined);
    this.#reach();
    return this.store.renew(request);
  }

  async leave(member: string) {
    this.#reach();
    await this.store.leave(member);
  }

  revoke(member: string) {
    return this.store.revoke(member);
  }

  watch(signal: AbortSignal) {
    return this.store.watch(signal);
  }

  #reach(): void {
    if (this.down) throw new UlyssesError('PEER_LOST', 'no connection to the coordinator');
  }
}

function request(member: string): JoinRequest {
  return {
    member,
    controlAddress: `${member}:1`,
    tensorAddress: `${member}:2`,
    protocolVersion: PROTOCOL_VERSION,
  };
}

/** Lets promises that are ready settle. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

let clock: ManualClock;
let embedded: EmbeddedStore;
let store: FlakyStore;
let events: string[];
const forever = new AbortController().signal;

beforeEach(() => {
  clock = new ManualClock();
  embedded = new EmbeddedStore({ cpSize: 1, leaseMs: LEASE_MS, clock });
  store = new FlakyStore(embedded);
  events = [];
});
afterEach(() => {
  embedded.close();
});

function keeperOf(member: string, graceMs?: number): LeaseKeeper {
  return new LeaseKeeper({
    store,
    request: request(member),
    clock,
    random: () => 0.5,
    ...(graceMs === undefined ? {} : { graceMs }),
    onLost: (error) => {
      events.push(`${member} lost: ${error.code}`);
    },
    logger: createLogger({
      name: 'test',
      level: 'warn',
      destination: {
        write: (line) => {
          events.push(`logged: ${(JSON.parse(line) as { msg: string }).msg}`);
        },
      },
    }),
  });
}

async function advance(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 250) {
    clock.advance(Math.min(250, ms - passed));
    await settled();
  }
}

describe('a lease keeper', () => {
  it('renews every third of the lease and keeps it for as long as it does', async () => {
    const keeper = keeperOf('a');
    expect(await keeper.join(forever)).toEqual({ rank: 0, epoch: 1, leaseMs: LEASE_MS });
    await advance(10 * LEASE_MS);
    expect(store.renewals).toBe(30);
    expect(events).toEqual([]);
    expect(embedded.membership.complete).toBe(true);
  });

  it('waits with a spare for a rank to become free', async () => {
    await keeperOf('a').join(forever);
    const spare = keeperOf('b').join(forever);
    await advance(1000);
    embedded.revokeNow('a');
    await advance(1000);
    expect((await spare).rank).toBe(0);
  });

  it('gives up joining when its signal aborts, and says what the last attempt met', async () => {
    await keeperOf('a').join(forever);
    const controller = new AbortController();
    const joining = keeperOf('b').join(controller.signal);
    await advance(500);
    controller.abort(new UlyssesError('DEADLINE', 'the deadline of 500 ms passed'));
    await expect(joining).rejects.toMatchObject({
      code: 'DEADLINE',
      message: expect.stringContaining('all 1 ranks are taken') as string,
    });
  });

  it('does not try again after an error that trying cannot help', async () => {
    const keeper = new LeaseKeeper({
      store,
      request: { ...request('a'), protocolVersion: '0' },
      clock,
      onLost: () => undefined,
      logger: createLogger({ name: 'test', level: 'silent' }),
    });
    await expect(keeper.join(forever)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  it('survives a store that is away for less than the grace', async () => {
    const keeper = keeperOf('a');
    await keeper.join(forever);
    store.down = true;
    await advance(LEASE_MS - 500);
    store.down = false;
    await advance(3 * LEASE_MS);
    expect(events).toEqual([]);
    expect(keeper.lease?.rank).toBe(0);
  });

  it('is lost when the grace has passed since the last good renewal was sent, and stops serving before it logs', async () => {
    const keeper = keeperOf('a', 2000);
    await keeper.join(forever);
    await advance(1000);
    store.down = true;
    await advance(1999);
    expect(events).toEqual([]);
    await advance(1);
    expect(events).toEqual(['a lost: LEASE_LOST', 'logged: lease lost']);
    expect(keeper.lease).toBeNull();
  });

  it('is lost after the grace too when a renewal neither succeeds nor fails', async () => {
    const keeper = keeperOf('a');
    await keeper.join(forever);
    store.hangs = true;
    await advance(LEASE_MS - 1);
    expect(events).toEqual([]);
    await advance(1);
    expect(events[0]).toBe('a lost: LEASE_LOST');
  });

  it('is lost at its next renewal when another holds its rank', async () => {
    await keeperOf('a').join(forever);
    embedded.revokeNow('a');
    await embedded.join(request('b'));
    await advance(LEASE_MS / 3);
    expect(events).toEqual(['a lost: LEASE_LOST', 'logged: lease lost']);
  });

  it('rejoins after a loss and renews again', async () => {
    const keeper = keeperOf('a');
    await keeper.join(forever);
    embedded.revokeNow('a');
    await advance(LEASE_MS / 3);
    expect(keeper.lease).toBeNull();
    expect(await keeper.join(forever)).toMatchObject({ rank: 0, epoch: 2 });
    await advance(4 * LEASE_MS);
    expect(events).toHaveLength(2);
    expect(embedded.membership.complete).toBe(true);
  });

  it('teaches a store that started anew the epoch it has seen', async () => {
    const keeper = keeperOf('a');
    await keeper.join(forever);
    keeper.sawEpoch(17);
    store.down = true;
    await advance(LEASE_MS);
    store.store = new EmbeddedStore({ cpSize: 1, leaseMs: LEASE_MS, clock });
    store.down = false;
    expect((await keeper.join(forever)).epoch).toBe(18);
    store.store.close();
  });

  it('renews at once when it hears of a later epoch, once, and goes on as before', async () => {
    const keeper = keeperOf('a');
    await keeper.join(forever);
    keeper.sawEpoch(7);
    keeper.sawEpoch(7);
    await advance(1);
    expect(store.renewals).toBe(1);
    await advance(LEASE_MS / 3);
    expect(store.renewals).toBe(2);
  });

  it('leaves when it is closed and renews no more', async () => {
    const keeper = keeperOf('a');
    await keeper.join(forever);
    await keeper.close();
    expect(embedded.membership.members).toEqual([]);
    await advance(2 * LEASE_MS);
    expect(store.renewals).toBe(0);
    expect(events).toEqual([]);
  });

  it('closes without an error when the store is away', async () => {
    const keeper = keeperOf('a');
    await keeper.join(forever);
    store.down = true;
    await keeper.close();
    expect(keeper.lease).toBeNull();
  });
});
