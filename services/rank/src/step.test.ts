import { cpuDevice } from '@ulysses/device';
import {
  allocateBackward,
  allocateForward,
  backwardReceives,
  backwardReturns,
  backwardSends,
  ExchangePlane,
  forwardReceives,
  forwardReturns,
  forwardSends,
  ownerBytes,
  ownerExchange,
  ownerLinkName,
  ownerParty,
  rankLinkName,
  rankParty,
  segmentOffsets,
  unitExchange,
  unitOwnerSendBytes,
} from '@ulysses/exchange';
import { Region, type Receive, type RowsToSend } from '@ulysses/native';
import { createPlan, type Mask, type StepSpec } from '@ulysses/plan';
import { afterEach, describe, expect, it } from 'vitest';
import { StepClock } from './step-clock.js';
import { runBackward, runForward } from './step.js';

const ROWS = 3000;
const CAUSAL: Mask = { left: null, right: 0, segments: null, validRanges: null };
const KEY = { job: 'job', session: 'session', call: 0, attempt: 0 };

/** One head, on one rank, of one owner, so that the first rows see few keys and the last all of them. */
function planOf(mask: Mask) {
  const spec: StepSpec = {
    ...{ dtype: 'f32', layout: 'sbhd', batch: 1, qHeads: 1, kvHeads: 1, headSize: 8, scale: 0.5 },
    ...{ qSplits: [ROWS], kvSplits: [ROWS], mask, strategy: 'heads', weights: null },
  };
  return createPlan(spec, 1);
}

const opened: ExchangePlane[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((plane) => plane.close()));
});

async function open(listen: string | null): Promise<ExchangePlane> {
  const plane = await ExchangePlane.open({ listen, onLinkLost: () => undefined, sliceOrderSeed: null });
  opened.push(plane);
  return plane;
}

/** An owner and a rank with a link between them, and the memory of both for one forward and one backward. */
async function ends(mask: Mask) {
  const plan = planOf(mask);
  const [rank, owner] = [await open('127.0.0.1:0'), await open(null)];
  const ownerLink = ownerLinkName(0, KEY.job, KEY.session);
  const rankLink = rankLinkName(0, 'member');
  await owner.connectOwner(rankLink, rank.address!, ownerLink, { deadlineMs: 10_000 });
  const unit = unitExchange(plan, 0);
  const shard = ownerExchange(plan, 0, { q: ROWS, kv: ROWS });
  const tensor = (seed: number): Region => {
    const region = Region.allocate(ROWS * 8 * 4);
    region.float32().forEach((_, i, values) => (values[i] = Math.sin(seed + 0.7 * i)));
    return region;
  };
  const [q, k, v, dout] = [tensor(1), tensor(2), tensor(3), tensor(4)];
  const partialBytes = segmentOffsets(shard.byRank[0]!.kv).at(-1)! * 8 * 4;
  const results = {
    out: tensor(0),
    lse: Region.allocate(ROWS * 4),
    dq: tensor(0),
    partials: [{ dk: Region.allocate(partialBytes), dv: Region.allocate(partialBytes) }],
  };
  const memory = { forward: allocateForward(unit.places), backward: allocateBackward(unit.places) };

  /** Runs a pass on the rank; the owner hears of rows that come back as `granules` of whoever asks. */
  const start = (pass: 'forward' | 'backward', returns: readonly Receive[]) => {
    const step = { key: { ...KEY, pass }, epoch: 1, relayBytes: 0 };
    const [sendBytes, { sent }] = [unitOwnerSendBytes(unit, pass), ownerBytes(shard, pass, [])];
    const receives =
      pass === 'forward'
        ? forwardReceives(unit, memory.forward)
        : backwardReceives(unit, memory.forward, memory.backward, []);
    const rankRoutes = [{ destination: ownerParty(0), link: ownerLink }];
    const channel = rank.openStep({ ...step, self: rankParty(0), receives, routes: rankRoutes, sendBytes });
    const routes = [{ destination: rankParty(0), link: rankLink }];
    const back = owner.openStep({ ...step, self: ownerParty(0), receives: returns, routes, sendBytes: sent });
    const clock = new StepClock('wait', () => undefined);
    const { signal } = new AbortController();
    const device = cpuDevice({ threads: 1 });
    const running = { exchange: unit, channel, device, carried: [], clock, signal };
    const run =
      pass === 'forward'
        ? runForward(running, memory.forward)
        : runBackward(running, memory.forward, memory.backward);
    const end = async (): Promise<void> => {
      await Promise.all([run, back.received, back.sent]);
      channel.close();
      back.close();
    };
    return { back, end };
  };
  return { unit, shard, inputs: { q, k, v, dout }, results, start };
}

const FIRST = 1;
const REST = 2;
const OTHERS = 4;

/** Reports the first `rows` rows of these tensors' only segment as `FIRST`, what follows as the next; others as `OTHERS`. */
function watched(receives: readonly Receive[], tensors: readonly string[], rows: number): Receive[] {
  return receives.map((receive) => {
    const segments = receive.segments.map((place) =>
      tensors.includes(receive.tensor)
        ? { ...place, granule: FIRST, granuleEnds: [rows] }
        : { ...place, granule: OTHERS },
    );
    return { ...receive, segments };
  });
}

/** Everything in whole segments, keys last. */
const inAnyOrder = (sends: readonly RowsToSend[]): RowsToSend[] =>
  [...sends].sort((a, b) => b.tensor.localeCompare(a.tensor) || a.rows.begin - b.rows.begin);

const copyOf = (region: Region): Uint8Array => Uint8Array.from(region.bytes);

describe('a rank', () => {
  it('returns the first granule’s out while later rows of q, k and v have not left their owner', async () => {
    const { unit, shard, inputs, results, start } = await ends(CAUSAL);
    expect(unit.granules.length).toBeGreaterThanOrEqual(8);
    const { qEnd } = unit.granules[0]!;
    const sends = forwardSends(shard, inputs);
    const needed = sends.filter(({ rows }) => rows.begin < qEnd);
    expect(needed.every(({ rows }) => rows.end === qEnd)).toBe(true);
    const { back, end } = start('forward', watched(forwardReturns(shard, results), ['out', 'lse'], qEnd));
    back.send(needed);
    await back.granule(FIRST);
    expect(back.hasArrived(REST)).toBe(false);
    const first = copyOf(results.out).subarray(0, qEnd * 8 * 4);
    back.send(sends.filter(({ rows }) => rows.begin >= qEnd));
    await end();
    expect(copyOf(results.out).subarray(0, qEnd * 8 * 4)).toEqual(first);
  });

  it('returns the first granule’s dq while later rows of dout have not left their owner', async () => {
    const { unit, shard, inputs, results, start } = await ends(CAUSAL);
    const forward = start('forward', forwardReturns(shard, results));
    forward.back.send(forwardSends(shard, inputs));
    await forward.end();
    const { qEnd } = unit.granules[0]!;
    const [first, ...later] = backwardSends(shard, inputs, []);
    const { back, end } = start('backward', watched(backwardReturns(shard, results), ['dq'], qEnd));
    back.send([first!]);
    await back.granule(FIRST);
    expect([back.hasArrived(REST), back.hasArrived(OTHERS)]).toEqual([false, false]);
    back.send(later);
    await end();
  });

  it('returns dk and dv that a window has passed while later rows of dout have not left their owner', async () => {
    const { unit, shard, inputs, results, start } = await ends({ ...CAUSAL, left: 1500 });
    const forward = start('forward', forwardReturns(shard, results));
    forward.back.send(forwardSends(shard, inputs));
    await forward.end();
    const passed = unit.granules.at(-1)!.keys!.begin;
    expect(passed).toBeGreaterThan(0);
    const sends = backwardSends(shard, inputs, []);
    const { back, end } = start('backward', watched(backwardReturns(shard, results), ['dk', 'dv'], passed));
    back.send(sends.slice(0, -1));
    await back.granule(FIRST);
    expect(back.hasArrived(REST)).toBe(false);
    back.send(sends.slice(-1));
    await end();
  });

  it('computes the same bits from rows that came in another order', async () => {
    const runs: Uint8Array[][] = [];
    for (const ordered of [(sends: RowsToSend[]) => sends, inAnyOrder]) {
      const { shard, inputs, results, start } = await ends(CAUSAL);
      const forward = start('forward', forwardReturns(shard, results));
      forward.back.send(ordered(forwardSends(shard, inputs)));
      await forward.end();
      const backward = start('backward', backwardReturns(shard, results));
      backward.back.send(ordered(backwardSends(shard, inputs, [])));
      await backward.end();
      const { out, lse, dq, partials } = results;
      runs.push([out, lse, dq, partials[0]!.dk, partials[0]!.dv].map(copyOf));
    }
    expect(runs[1]).toEqual(runs[0]);
  });
});
