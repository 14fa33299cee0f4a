import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { connect, UlyssesContextAttention } from '@ulysses/client';
import { connectCoordinator } from '@ulysses/rpc';
import { delay, orAborted } from '@ulysses/runtime';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { runStep } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { levelOf, WITH_FAULT_POINTS, type Level } from '../support/fault-point.js';
import * as hostile from '../support/hostile-client.js';
import type { HostileClient, Target } from '../support/hostile-client.js';
import { Parts, type Part } from '../support/parts.js';
import { stepInputs } from '../support/step-inputs.js';
import { encodeFields } from '../support/wire-fields.js';
import { TENSOR_CALLS } from './fuzz-seeds.js';

/** What services give a client that is slow. */
const SLOW_CLIENT = '2s';
/** On each port, of each kind. */
const CLIENTS = 30;
/** Twice what a peer has that does not answer a ping, or a control port's idle connection. */
const END_MS = 45_000;
/** Of the heap: compiled code, and what was learnt of it. Of all memory: what the allocator keeps of its peak. */
const HEAP_MARGIN_BYTES = 3 * 2 ** 20;
const RESIDENT_GROWTH = 1.05;
const RESIDENT_MARGIN_BYTES = 8 * 2 ** 20;

/** Looking costs every process a collection. */
const POLL_MS = 500;

const INPUTS = stepInputs({ rows: 37, batch: 1, qHeads: 3, kvHeads: 1, headSize: 16 }, 4);
const [DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED] = [4, 8];

/** What each kind of client is told; null: nothing, or it does not matter. */
const KINDS: readonly (readonly [open: (target: Target) => HostileClient, status: number | null])[] = [
  [hostile.silentClient, null],
  [hostile.slowPreface, null],
  [hostile.slowMessage, DEADLINE_EXCEEDED],
  [hostile.hugeMessage, RESOURCE_EXHAUSTED],
  [hostile.neverReads, null],
  [hostile.takesNothing, null],
  [hostile.makesNoCall, null],
];

let redis: RedisProcess;
let parts: Parts;
let coordinator: Part;
let ranks: Part[];

beforeAll(async () => {
  redis = await startRedis();
  parts = new Parts({
    rendezvous: `redis://127.0.0.1:${redis.port}`,
    cluster: randomUUID(),
    env: { ...WITH_FAULT_POINTS, ULYSSES_SLOW_CLIENT: SLOW_CLIENT },
  });
  coordinator = await parts.coordinator(2);
  ranks = await parts.ranks(2);
  await parts.ready(coordinator.address, 2);
});
afterAll(async () => {
  await parts.stop();
  await redis.stop();
});

async function targets(): Promise<readonly Target[]> {
  const status = await parts.ready(coordinator.address, 2);
  const control = { headers: {}, message: Buffer.alloc(0), limitBytes: 2 ** 24 };
  const slice = encodeFields(TENSOR_CALLS[0]!.seeds[0]!);
  const party = { 'ulysses-party': `owner/0/hostile/${randomUUID()}` };
  const tensor = { headers: party, message: slice, limitBytes: 2 ** 26 };
  return [
    { ...control, address: coordinator.address, path: '/ulysses.v1.CoordinatorService/GetStatus' },
    { ...control, address: ranks[0]!.address, path: '/ulysses.v1.RankService/GetRankStatus' },
    { ...tensor, address: status.ranks[0]!.rank.tensorAddress, path: '/ulysses.v1.TensorPlaneService/Push' },
  ];
}

/** Clients of every kind at one port; a tensor port knows them by their party, and has one connection of each. */
function attack(
  target: Target,
  clients: number,
): { client: HostileClient; what: string; status: number | null }[] {
  return KINDS.flatMap(([open, status], kind) =>
    Array.from({ length: clients }, (_, i) => {
      const { 'ulysses-party': party } = target.headers;
      const headers: Target['headers'] =
        party === undefined ? {} : { 'ulysses-party': `${party}-${kind}-${i}` };
      return { client: open({ ...target, headers }), what: `${open.name} at ${target.path}`, status };
    }),
  );
}

function levels(): Promise<Level[]> {
  return Promise.all([coordinator, ...ranks].map(({ child }) => levelOf(child)));
}

async function untilDescriptorsAre(before: readonly Level[]): Promise<Level[]> {
  const deadline = performance.now() + END_MS;
  for (;;) {
    const now = await levels();
    if (now.every(({ descriptors }, i) => descriptors <= before[i]!.descriptors)) return now;
    await delay(POLL_MS, new AbortController().signal);
    if (performance.now() > deadline) {
      const count = (of: readonly Level[]): string => of.map(({ descriptors }) => descriptors).join(', ');
      throw new Error(`not within ${END_MS} ms: ${count(now)} descriptors are ${count(before)} again`);
    }
  }
}

it(
  `${CLIENTS * KINDS.length} hostile clients at each port are ended, disturb no step and leave nothing; who lives and waits is kept`,
  { timeout: 3 * END_MS },
  async () => {
    const { address } = coordinator;
    const step = { address, splits: [37], attention: { causal: true } };
    const expected = await runStep(step, INPUTS);
    const replays: unknown[] = [];
    const idle = await connect({ address, route: 'direct', onReplay: (error) => replays.push(error) });
    const attention = new UlyssesContextAttention(null, idle, { causal: true });
    await attention.forward(INPUTS.q, INPUTS.k, INPUTS.v);
    const watcher = connectCoordinator(address);
    const memberships = watcher.watchMembership({});
    await memberships.next();
    let changed = false;
    const change = memberships.next().finally(() => (changed = true));
    change.catch(() => undefined);

    const open: ReturnType<typeof attack> = [];
    try {
      const before = await levels();
      for (const target of await targets()) open.push(...attack(target, CLIENTS));
      // While they hold what they can, which is for the shortest time that one of them is given.
      for (let steps = 0; steps < 5; steps++) expectSameBits(await runStep(step, INPUTS), expected);
      const late = AbortSignal.timeout(END_MS);
      setMaxListeners(open.length, late);
      for (const { client, what, status } of open.filter(({ client }) => client.notices)) {
        const told = await orAborted(client.ended, late).catch(() => 'not ended');
        if (status !== null || told === 'not ended') expect(told, what).toBe(status);
      }
      const after = await untilDescriptorsAre(before);
      for (const [i, { heapBytes, residentBytes, regionBytes }] of after.entries()) {
        const had = before[i]!;
        expect(heapBytes, `heap of service ${i}`).toBeLessThan(had.heapBytes + HEAP_MARGIN_BYTES);
        expect(regionBytes, `native memory of service ${i}`).toBeLessThanOrEqual(had.regionBytes);
        const most = had.residentBytes * RESIDENT_GROWTH + RESIDENT_MARGIN_BYTES;
        expect(residentBytes, `resident memory of service ${i}`).toBeLessThan(most);
      }
    } finally {
      for (const { client } of open) client.stop();
    }
    expect(changed, 'the stream of memberships ended or had news').toBe(false);
    await attention.forward(INPUTS.q, INPUTS.k, INPUTS.v);
    expect(replays, 'of the trainer that was idle').toEqual([]);
    await idle.close();
    watcher.close();
  },
);
