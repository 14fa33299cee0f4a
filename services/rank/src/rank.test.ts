import { fieldError, type UlyssesError } from '@ulysses/errors';
import { createPlan, type StepSpec } from '@ulysses/plan';
import { EmbeddedStore } from '@ulysses/rendezvous';
import {
  PROTOCOL_VERSION,
  connectRank,
  type JoinRequest,
  type RankClient,
  type StepKey,
  type TermedCommand,
} from '@ulysses/rpc';
import { AsyncQueue, Deferred, createLogger } from '@ulysses/runtime';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { startRank, type Rank } from './rank.js';

const LEASE_MS = 90;
/** Where no lease is to be lost, on a machine that starves the process too. */
const LONG_LEASE_MS = 60_000;

/** A cluster of one rank, whose store can be told to admit another protocol version only, as after an upgrade. */
class OneRankStore extends EmbeddedStore {
  upgraded = false;

  constructor(leaseMs: number) {
    super({ cpSize: 1, leaseMs });
  }

  override async join(request: JoinRequest) {
    if (this.upgraded) throw fieldError('UNSUPPORTED', 'protocol_version', request.protocolVersion, 'newer');
    return super.join(request);
  }
}

const ranks: Rank[] = [];
const clients: RankClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await Promise.all(ranks.splice(0).map((rank) => rank.close(0)));
});

/** A rank that has joined `store`, and what it said. */
async function joined(store: OneRankStore) {
  const log: string[] = [];
  const refused = new Deferred<UlyssesError>();
  const rank = await startRank({
    member: 'a',
    membership: store,
    listen: '127.0.0.1:0',
    advertise: null,
    tensorListen: '127.0.0.1:0',
    tensorAdvertise: null,
    transport: 'auto',
    sharedBytes: 0,
    connections: {},
    slowClientMs: 30_000,
    metricsListen: null,
    threads: 1,
    isa: null,
    storeBytes: 1024,
    storeBytesPerJob: null,
    storeTtlMs: 60_000,
    logger: createLogger({
      name: 'rank',
      level: 'info',
      destination: { write: (line) => void log.push(line) },
    }),
    drainMs: 0,
    onAskedToLeave: () => undefined,
    onRefused: refused.resolve,
    signal: new AbortController().signal,
  });
  ranks.push(rank);
  return { rank, log, refused: refused.promise };
}

/** What a coordinator hears that has the rank enter an epoch of its own, and then says `more`. */
async function told(
  { controlAddress, tensorAddress }: Rank,
  more: readonly TermedCommand[],
): Promise<readonly unknown[]> {
  const client = connectRank(controlAddress);
  clients.push(client);
  const commands = new AsyncQueue<TermedCommand>();
  const only = { rank: 0, member: 'a', controlAddress, tensorAddress };
  commands.push({ kind: 'enter-epoch', term: 1, epoch: 1, ranks: [only] });
  for (const command of more) commands.push(command);
  commands.close();
  const heard: unknown[] = [];
  try {
    for await (const event of client.steps(commands)) heard.push(event);
  } catch (thrown) {
    heard.push(thrown);
  }
  return heard;
}

const READY = { kind: 'ready', epoch: 1 };
const STEP: StepKey = { job: 'j', session: 's', call: 1, pass: 'forward', attempt: 0 };
const SPEC: StepSpec = {
  ...{ dtype: 'f32', layout: 'sbhd', batch: 1, qHeads: 2, kvHeads: 1, headSize: 8 },
  ...{ qSplits: [5], kvSplits: [5], scale: 0.5, strategy: 'balanced', weights: null },
  mask: { left: null, right: 0, segments: null, validRanges: null },
};
function prepare(ownerCount: number, cpSize: number): TermedCommand {
  return {
    ...{ kind: 'prepare', term: 1, epoch: 1, step: STEP, plan: createPlan(SPEC, cpSize), keep: 'none' },
    ...{ kvCachePolicy: 'none', forward: null, ownerCount, releaseForward: false, directOwners: [] },
  };
}

describe('a rank that is told to prepare a step', () => {
  it('refuses one of more owners or ranks than its plan has', async () => {
    const { rank } = await joined(new OneRankStore(LONG_LEASE_MS));
    const refusedFor = (field: string): object => ({
      kind: 'vote',
      refusal: { code: 'PLAN_INVALID', details: { field } },
    });
    expect(await told(rank, [prepare(1, 1), prepare(2 ** 32 - 1, 1), prepare(1, 2)])).toMatchObject([
      READY,
      { kind: 'vote', refusal: null },
      refusedFor('ownerCount'),
      refusedFor('cpSize'),
    ]);
  });
});

describe('a coordinator whose command cannot be obeyed', () => {
  it('hears why its stream ends', async () => {
    const { rank } = await joined(new OneRankStore(LONG_LEASE_MS));
    const older: TermedCommand = { kind: 'commit', step: STEP, term: 0 };
    expect(await told(rank, [older, prepare(1, 1)])).toMatchObject([
      READY,
      { code: 'LEASE_LOST', details: { field: 'term', newest: '1' } },
    ]);
  });
});

describe('a rank that lost its lease', () => {
  it('serves no coordinator while it waits for another, and again when it has one', async () => {
    const store = new OneRankStore(LEASE_MS);
    const { rank } = await joined(store);
    expect(await told(rank, [])).toEqual([READY]);
    store.revokeNow('a');
    const usurper = { member: 'b', controlAddress: 'b:1', tensorAddress: 'b:2' };
    await store.join({ ...usurper, protocolVersion: PROTOCOL_VERSION });
    const keepsIt = setInterval(() => void store.renew({ member: 'b', rank: 0, epoch: 0 }), LEASE_MS / 3);
    await vi.waitUntil(() => rank.rank === null);
    expect(await told(rank, [])).toMatchObject([{ code: 'LEASE_LOST', message: 'this rank holds no lease' }]);
    clearInterval(keepsIt);
    store.revokeNow('b');
    await vi.waitUntil(() => rank.rank === 0, { timeout: 5_000 });
    expect(await told(rank, [])).toEqual([READY]);
  });

  it('and that no cluster takes again says so, and asks to be ended', async () => {
    const store = new OneRankStore(LEASE_MS);
    const { rank, log, refused } = await joined(store);
    store.upgraded = true;
    store.revokeNow('a');
    expect(await refused).toMatchObject({ code: 'UNSUPPORTED', details: { field: 'protocol_version' } });
    expect(rank.rank).toBeNull();
    expect(log.join('')).toMatch(/"code":"UNSUPPORTED".*"msg":"rejoining refused"/);
  });
});
