import { Region, type StepRegistration } from '@ulysses/native';
import {
  createExchangePlan,
  exchangeBytes,
  outputShape,
  splitRanges,
  type ExchangePlan,
} from '@ulysses/plan';
import { afterEach, describe, expect, it } from 'vitest';
import { ExchangePlane } from './exchange-plane.js';
import { ownerLinkName, ownerParty, rankLinkName, rankParty } from './party.js';
import {
  exchangeReceives,
  exchangeSends,
  foldExchange,
  keepOwn,
  keepOwnPartial,
  partialBytes,
  partialReceives,
} from './tensor-exchange.js';

const KEY = { job: 'job', session: 'session', call: 0, pass: 'forward', attempt: 0 } as const;
const STEP = { key: KEY, epoch: 1, receives: [], routes: [], relayBytes: 0, sendBytes: 0 };
const OWNERS = 3;

const opened: ExchangePlane[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((plane) => plane.close()));
});

async function open(listen: string | null): Promise<ExchangePlane> {
  const plane = await ExchangePlane.open({ listen, onLinkLost: () => undefined });
  opened.push(plane);
  return plane;
}

/** Every rank linked to every other, and every owner to its relay. */
async function mesh(): Promise<{ ranks: ExchangePlane[]; owners: ExchangePlane[] }> {
  const indices = Array.from({ length: OWNERS }, (_, i) => i);
  const ranks = await Promise.all(indices.map(() => open('127.0.0.1:0')));
  const owners = await Promise.all(indices.map(() => open(null)));
  const options = { deadlineMs: 5_000 };
  for (const from of indices) {
    for (const to of indices) {
      if (from === to) continue;
      await ranks[from]!.connectRank(`rank ${to}`, ranks[to]!.address!, rankLinkName(from, 'm'), options);
    }
    const party = ownerLinkName(from, KEY.job, KEY.session);
    await owners[from]!.connectOwner('relay', ranks[from]!.address!, party, options);
  }
  return { ranks, owners };
}

/** How owners and ranks register an exchange, as clients and ranks do. */
function ownerStep(plan: ExchangePlan, owner: number): StepRegistration {
  const routes = Array.from({ length: OWNERS }, (_, i) => ({ destination: ownerParty(i), link: 'relay' }));
  return { ...STEP, self: ownerParty(owner), routes, sendBytes: exchangeBytes(plan.spec, owner).sent };
}

function rankStep({ spec }: ExchangePlan, rank: number): StepRegistration {
  const { sent, received } = exchangeBytes(spec, rank);
  const routes = Array.from({ length: OWNERS }, (_, owner) => ({
    destination: ownerParty(owner),
    link: owner === rank ? ownerLinkName(owner, KEY.job, KEY.session) : `rank ${owner}`,
  }));
  return { ...STEP, self: rankParty(rank), routes, relayBytes: sent + received };
}

const PLAN = createExchangePlan({
  dtype: 'f32',
  shape: [7, 2, 50, 3],
  scatterDim: 2,
  gatherDim: 0,
  scatterRanges: splitRanges([17, 0, 33]),
  gatherRanges: splitRanges([4, 1, 2]),
});

describe('an exchange alone over tensor planes', () => {
  it('goes through the relays: bytes are those of the plan, and relays know when all are acknowledged', async () => {
    const { ranks, owners } = await mesh();
    const relays = ranks.map((plane, rank) => plane.openStep(rankStep(PLAN, rank)));
    const parts = owners.map((plane, owner) => {
      const rows = PLAN.spec.gatherRanges[owner]!;
      const input = Region.allocate((rows.end - rows.begin) * 2 * 50 * 3 * 4);
      // Element [row, a, b, c] of the whole is its place there.
      input.float32().forEach((_, i, all) => (all[i] = rows.begin * 300 + i));
      const output = Region.allocate(outputShape(PLAN.spec, owner).reduce((a, b) => a * b, 4));
      keepOwn(PLAN, owner, input, output);
      const receives = exchangeReceives(PLAN, owner, output);
      const channel = plane.openStep({ ...ownerStep(PLAN, owner), receives });
      return { channel, output, sends: exchangeSends(PLAN, owner, input) };
    });
    for (const { channel, sends } of parts) channel.send(sends);
    await Promise.all([
      ...parts.flatMap(({ channel }) => [channel.received, channel.sent]),
      ...relays.map((channel) => channel.relayed),
    ]);
    parts.forEach(({ channel, output }, owner) => {
      const { begin, end } = PLAN.spec.scatterRanges[owner]!;
      const expected = Float32Array.from({ length: 14 * (end - begin) * 3 }, (_, i) => {
        const line = Math.floor(i / ((end - begin) * 3));
        return line * 150 + begin * 3 + (i % ((end - begin) * 3));
      });
      expect(output.float32()).toEqual(expected);
      const { sent, received } = exchangeBytes(PLAN.spec, owner);
      expect(channel.close()).toEqual({ bytesSent: sent, bytesReceived: received });
    });
    relays.forEach((channel, rank) => {
      const { sent, received } = exchangeBytes(PLAN.spec, rank);
      expect(channel.close()).toEqual({ bytesSent: sent + received, bytesReceived: 0 });
    });
  });

  it('a relay that has nothing to pass on does not wait', async () => {
    const { ranks } = await mesh();
    const empty = createExchangePlan({ ...PLAN.spec, shape: [7, 0, 50, 3] });
    await ranks[0]!.openStep(rankStep(empty, 0)).relayed;
  });

  it('parts that overlap are summed in owner order, in float32, and rounded once', async () => {
    // Columns 0..2, 1..4 and 1..3 of four: column 1 has three holders, column 3 one.
    const ranges = [
      { begin: 0, end: 2 },
      { begin: 1, end: 4 },
      { begin: 1, end: 3 },
    ];
    const plan = createExchangePlan({
      dtype: 'f32',
      shape: [6, 5, 2],
      scatterDim: 0,
      gatherDim: 1,
      scatterRanges: splitRanges([2, 2, 2]),
      gatherRanges: ranges,
    });
    const sizes = partialBytes(plan, 1);
    expect(sizes).toEqual([2, 3, 2].map((columns) => 2 * columns * 2 * 4));
    const partials = sizes.map((bytes) => Region.allocate(bytes));
    // 2^24 + 1 - 2^24 is 0 in float32 in owner order, and 1 in the reverse order.
    const values = [2 ** 24, 1, -(2 ** 24)];
    partials.forEach((partial, from) => partial.float32().fill(values[from]!));
    const [folded, rounded] = [Region.allocate(2 * 5 * 2 * 4), Region.allocate(2 * 5 * 2 * 2)];
    await foldExchange(plan, partials, 1, folded, 'f32');
    const line = [2 ** 24, 0, 1 - 2 ** 24, 1, 0].flatMap((x) => [x, x]);
    expect([...folded.float32()]).toEqual([...line, ...line]);
    await foldExchange(plan, partials, 1, rounded, 'bf16');
    const bf16 = new Uint16Array(rounded.bytes.buffer, rounded.bytes.byteOffset, 10);
    expect([...bf16]).toEqual([0x4b80, 0, 0xcb80, 0x3f80, 0].flatMap((x) => [x, x]));

    const input = Region.allocate(6 * 3 * 2 * 4);
    input.float32().forEach((_, i, all) => (all[i] = i));
    const own = Region.allocate(sizes[1]!);
    keepOwnPartial(plan, 1, input, own);
    expect([...own.float32()]).toEqual(Array.from({ length: 12 }, (_, i) => 12 + i));
    expect(partialReceives(plan, 1, partials).map(({ segments }) => segments[0]?.region)).toEqual([
      partials[2],
      partials[0],
    ]);
  });
});
