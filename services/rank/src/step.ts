import type { Device, DeviceJob } from '@ulysses/device';
import {
  backwardGranuleSends,
  finalKeys,
  forwardGranuleSends,
  granuleKeys,
  granuleLse,
  granuleRows,
  keyGradientSends,
  type BackwardMemory,
  type ForwardMemory,
  type StepChannel,
  type UnitExchange,
} from '@ulysses/exchange';
import type { BackwardUnit, ForwardUnit } from '@ulysses/native';
import { rowBounds, type CarriedTensor, type Granule } from '@ulysses/plan';
import { elementBytes } from '@ulysses/tensor';
import type { StepClock } from './step-clock.js';

/**
 * The main path of a rank. By now the plan is checked, memory is reserved and every rank said yes; what is left of a
 * pass is: exchange (a granule's rows arrive), attend, exchange back (its results leave at once), for every granule in their order.
 */
export interface RunningStep {
  readonly exchange: UnitExchange;
  readonly channel: StepChannel;
  readonly device: Device;
  /** Inputs that a backward brings again; empty in forward. */
  readonly carried: readonly CarriedTensor[];
  readonly clock: StepClock;
  readonly signal: AbortSignal;
}

/**
 * Most (row, key) pairs of one device call: these, or a pass's over so many calls. Granules that are all there are computed together
 * up to this: a call of their own costs more than small ones take, and large ones of a head have its keys packed once for both.
 * Holding back more results than that would cost more than a call.
 */
const CALL_PAIRS = 2 ** 19;
const CALLS = 8;

export async function runForward(step: RunningStep, memory: ForwardMemory): Promise<void> {
  const { granules } = step.exchange;
  const most = callPairs(granules);
  for (let begin = 0, end = 0; begin < granules.length; begin = end) {
    end = await arrivedGranules(step, begin, most, true);
    const call = granules.slice(begin, end);
    const units = call.map((granule) => forwardUnit(step, memory, granule));
    step.clock.enter('compute');
    await step.device.forward(attentionJob(step), units, { signal: step.signal });
    step.channel.send(call.flatMap((granule) => forwardGranuleSends(step.exchange, memory, granule)));
    step.clock.enter('receive');
  }
  await exchangedBack(step);
}

export async function runBackward(
  step: RunningStep,
  forward: ForwardMemory,
  memory: BackwardMemory,
): Promise<void> {
  const { granules, places } = step.exchange;
  const final = finalKeys(places.table, granules);
  const most = callPairs(granules);
  const [kvCarried, nothingKept] = [step.carried.includes('k'), step.carried.includes('q')];
  for (let begin = 0, end = 0; begin < granules.length; begin = end) {
    end = await arrivedGranules(step, begin, most, kvCarried);
    const call = granules.slice(begin, end);
    const units = call.map((granule) => backwardUnit(step, forward, memory, granule));
    step.clock.enter('compute');
    if (nothingKept) await step.device.forward(attentionJob(step), units, { signal: step.signal });
    await step.device.backward(attentionJob(step), units, { signal: step.signal });
    const sends = call.flatMap((granule, index) => {
      const interval = places.table.kvIntervalOfUnit[granule.unit]!;
      return [
        ...backwardGranuleSends(step.exchange, memory, granule),
        ...keyGradientSends(step.exchange, memory, interval, final[begin + index]!),
      ];
    });
    step.channel.send(sends);
    step.clock.enter('receive');
  }
  await exchangedBack(step);
}

/** A commit means that every row of the plan arrived, also keys that no granule of this rank sees. */
async function exchangedBack({ channel, clock }: RunningStep): Promise<void> {
  clock.enter('return');
  await channel.sent;
  await channel.received;
}

function callPairs(granules: readonly Granule[]): number {
  return Math.max(CALL_PAIRS, granules.reduce((sum, granule) => sum + pairsOf(granule), 0) / CALLS);
}

/** Waits for a granule; returns the end of those from it on that are there too and fit into one call of `most` pairs with it. */
async function arrivedGranules(
  step: RunningStep,
  first: number,
  most: number,
  withKeys: boolean,
): Promise<number> {
  const { granules } = step.exchange;
  for (const block of blocksRead(step, first, withKeys)) await step.channel.granule(block);
  let pairs = pairsOf(granules[first]!);
  let end = first + 1;
  for (; end < granules.length; end++) {
    pairs += pairsOf(granules[end]!);
    const arrived = blocksRead(step, end, withKeys).every((block) => step.channel.hasArrived(block));
    if (pairs > most || !arrived) break;
  }
  return end;
}

/** What a granule waits for: its own rows, and the keys that they see where these travel. */
function blocksRead({ exchange }: RunningStep, index: number, withKeys: boolean): number[] {
  const { rowsOf, keysOf } = exchange.arrivals;
  return withKeys ? [rowsOf[index]!, ...keysOf[index]!] : [rowsOf[index]!];
}

function pairsOf({ qBegin, qEnd, keys }: Granule): number {
  return keys === null ? 0 : (qEnd - qBegin) * (keys.end - keys.begin);
}

function attentionJob({ exchange }: RunningStep): DeviceJob {
  const { dtype, headSize, scale } = exchange.plan.spec;
  return { dtype, headSize, scale };
}

function forwardUnit({ exchange }: RunningStep, memory: ForwardMemory, granule: Granule): ForwardUnit {
  const { places, plan } = exchange;
  const { spec } = plan;
  const { unit, qBegin, qEnd } = granule;
  const keys = granule.keys ?? { begin: 0, end: 0 };
  const bytes = elementBytes(spec.dtype);
  return {
    rows: qEnd - qBegin,
    kvRows: keys.end - keys.begin,
    bounds: rowBounds(spec, places.table.units[unit]!.batch, qBegin, qEnd, keys.begin),
    q: granuleRows(places, memory.q, granule),
    k: granuleKeys(places, memory.k, granule, bytes),
    v: granuleKeys(places, memory.v, granule, bytes),
    out: granuleRows(places, memory.out, granule),
    lse: granuleLse(places, memory.lse, granule),
  };
}

function backwardUnit(
  step: RunningStep,
  forward: ForwardMemory,
  memory: BackwardMemory,
  granule: Granule,
): BackwardUnit {
  const { places } = step.exchange;
  return {
    ...forwardUnit(step, forward, granule),
    dout: granuleRows(places, memory.dout, granule),
    dq: granuleRows(places, memory.dq, granule),
    dk: granuleKeys(places, memory.dk, granule, 4),
    dv: granuleKeys(places, memory.dv, granule, 4),
  };
}
