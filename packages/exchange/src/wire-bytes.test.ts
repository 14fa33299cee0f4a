import { Region } from '@ulysses/native';
import { createPlan, explainPlan, pairTotals, splitSizes, type Plan, type StepSpec } from '@ulysses/plan';
import { afterEach, describe, expect, it } from 'vitest';
import { ExchangePlane } from './exchange-plane.js';
import { ownerLinkName, ownerParty, rankLinkName, rankParty } from './party.js';
import {
  backwardReturns,
  backwardSends,
  forwardReturns,
  forwardSends,
  ownerBytes,
  ownerExchange,
  segmentOffsets,
  type OwnerExchange,
} from './sequence-owner.js';
import type { StepChannel } from './step-channel.js';
import {
  backwardGranuleSends,
  backwardReceives,
  forwardGranuleSends,
  forwardReceives,
  keyGradientSends,
  unitExchange,
  unitOwnerSendBytes,
  type UnitExchange,
} from './unit-owner.js';
import { allocateBackward, allocateForward } from './unit-places.js';

type Pass = 'forward' | 'backward';

const OWNERS = 2;
const SESSION = { job: 'job', session: 'session' };
const DEADLINE = { deadlineMs: 10_000 };

const opened: ExchangePlane[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((plane) => plane.close()));
});

async function openPlane(listen: string | null): Promise<ExchangePlane> {
  const plane = await ExchangePlane.open({ listen, transport: 'auto', onLinkLost: () => undefined });
  opened.push(plane);
  return plane;
}

/** An odd number of rows and heads that no number of ranks divides. */
function unevenSpec(): StepSpec {
  const splits = splitSizes(301, OWNERS);
  return {
    dtype: 'f32',
    layout: 'sbhd',
    batch: 1,
    qHeads: 6,
    kvHeads: 2,
    headSize: 8,
    qSplits: splits,
    kvSplits: splits,
    mask: { left: null, right: 0, segments: null, validRanges: null },
    scale: 1,
    strategy: 'balanced',
    weights: null,
  };
}

/** Payload bytes that every party sent in one pass: owners to ranks, and what ranks return without computing it. */
async function bytesOnTheWire(plan: Plan, pass: Pass): Promise<{ owners: number[]; ranks: number[] }> {
  const ranks = await Promise.all(
    Array.from({ length: plan.cpSize }, async (_, rank) => {
      const plane = await openPlane('127.0.0.1:0');
      const routes = plan.spec.qSplits.map((_, owner) => ({
        destination: ownerParty(owner),
        link: ownerLinkName(owner, SESSION.job, SESSION.session),
      }));
      const exchange = unitExchange(plan, rank);
      const memory = {
        forward: allocateForward(exchange.places),
        backward: allocateBackward(exchange.places),
      };
      const receives =
        pass === 'forward'
          ? forwardReceives(exchange, memory.forward)
          : backwardReceives(exchange, memory.forward, memory.backward, []);
      const sendBytes = unitOwnerSendBytes(exchange, pass);
      const channel = plane.openStep({ ...step(pass), self: rankParty(rank), receives, routes, sendBytes });
      return { plane, exchange, memory, channel };
    }),
  );
  const owners = await Promise.all(
    plan.spec.qSplits.map(async (rows, owner) => {
      const plane = await openPlane(null);
      const party = ownerLinkName(owner, SESSION.job, SESSION.session);
      const routes = ranks.map(({ plane: { address } }, rank) => ({
        destination: rankParty(rank),
        link: rankLinkName(rank, address ?? ''),
        address: address ?? '',
      }));
      await Promise.all(
        routes.map(({ link, address }) => plane.connectOwner(link, address, party, DEADLINE)),
      );
      const exchange = ownerExchange(plan, owner, { q: rows, kv: rows });
      const { sends, receives } = transfers(exchange, pass, rows);
      const sendBytes = ownerBytes(exchange, pass, []).sent;
      const channel = plane.openStep({ ...step(pass), self: ownerParty(owner), receives, routes, sendBytes });
      channel.send(sends);
      return { channel };
    }),
  );
  await Promise.all(
    ranks.map(async ({ exchange, memory, channel }) => {
      await channel.received;
      sendResults(exchange, memory, channel, pass);
    }),
  );
  const done = [...owners, ...ranks].map(({ channel }) => Promise.all([channel.received, channel.sent]));
  await Promise.all(done);
  const sent = ({ channel }: { channel: StepChannel }): number => channel.close().bytesSent;
  return { owners: owners.map(sent), ranks: ranks.map(sent) };
}

function step(pass: Pass) {
  return { key: { ...SESSION, call: 0, pass, attempt: 0 }, epoch: 1, relayBytes: 0 };
}

function transfers(exchange: OwnerExchange, pass: Pass, rows: number) {
  const { qHeads, kvHeads, headSize } = exchange.plan.spec;
  const [qBytes, kvBytes] = [rows * qHeads * headSize * 4, rows * kvHeads * headSize * 4];
  const [q, k, v] = [Region.allocate(qBytes), Region.allocate(kvBytes), Region.allocate(kvBytes)];
  if (pass === 'forward') {
    const results = { out: Region.allocate(qBytes), lse: Region.allocate(rows * qHeads * 4) };
    return { sends: forwardSends(exchange, { q, k, v }), receives: forwardReturns(exchange, results) };
  }
  const partials = exchange.byRank.map(({ kv }) => {
    const bytes = (segmentOffsets(kv).at(-1) ?? 0) * headSize * 4;
    return { dk: Region.allocate(bytes), dv: Region.allocate(bytes) };
  });
  return {
    sends: backwardSends(exchange, { q, k, v, dout: Region.allocate(qBytes) }, []),
    receives: backwardReturns(exchange, { dq: Region.allocate(qBytes), partials }),
  };
}

function sendResults(
  exchange: UnitExchange,
  memory: {
    forward: ReturnType<typeof allocateForward>;
    backward: ReturnType<typeof allocateBackward>;
  },
  channel: StepChannel,
  pass: Pass,
): void {
  for (const granule of exchange.granules) {
    if (pass === 'forward') channel.send(forwardGranuleSends(exchange, memory.forward, granule));
    else channel.send(backwardGranuleSends(exchange, memory.backward, granule));
  }
  if (pass === 'forward') return;
  exchange.places.table.kvIntervals.forEach((keys, interval) => {
    channel.send(keyGradientSends(exchange, memory.backward, interval, keys));
  });
}

describe('payload bytes on the wire are the plan’s number exactly', () => {
  it.each([2, 4, 8, 16])('on %i ranks, in both passes, for every owner and rank', async (cpSize) => {
    const plan = createPlan(unevenSpec(), cpSize);
    const report = explainPlan(plan);
    for (const pass of ['forward', 'backward'] as const) {
      const { owners, ranks } = await bytesOnTheWire(plan, pass);
      const pairs = report[pass].pairs.map((ofOwner) => ofOwner.map(pairTotals));
      const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
      expect(owners).toEqual(pairs.map((ofOwner) => sumOf(ofOwner.map(({ toRank }) => toRank))));
      expect(ranks).toEqual(ranks.map((_, rank) => sumOf(pairs.map((ofOwner) => ofOwner[rank]!.toOwner))));
    }
  });
});

describe('when the sequence and the number of ranks double together', () => {
  const planOf = (cpSize: number, rowsPerOwner: number): Plan => {
    const splits = splitSizes(rowsPerOwner * cpSize, cpSize);
    const spec = { ...unevenSpec(), qHeads: 32, kvHeads: 16, qSplits: splits, kvSplits: splits };
    return createPlan({ ...spec, strategy: 'heads' }, cpSize);
  };

  it('bytes per rank stay the same, self-slices included, as long as heads divide', () => {
    const perRank = [2, 4, 8, 16].map((cpSize) => {
      const { ranks } = explainPlan(planOf(cpSize, 256));
      return new Set(ranks.map(({ forwardBytes, backwardBytes }) => `${forwardBytes} ${backwardBytes}`));
    });
    expect(perRank[0]!.size).toBe(1);
    for (const bytes of perRank) expect(bytes).toEqual(perRank[0]);
  });

  it.each(['forward', 'backward'] as const)(
    'so do those that every owner and every rank sends in %s, on the wire',
    async (pass) => {
      const sent = new Set<string>();
      for (const cpSize of [2, 4, 8, 16]) {
        const { owners, ranks } = await bytesOnTheWire(planOf(cpSize, 16), pass);
        expect(owners).toHaveLength(cpSize);
        owners.forEach((bytes, index) => sent.add(`${bytes} ${ranks[index]}`));
        await Promise.all(opened.splice(0).map((plane) => plane.close()));
      }
      expect([...sent]).toHaveLength(1);
    },
  );
});
