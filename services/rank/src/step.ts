import type { Device, DeviceJob } from '@ulysses/device';
import {
  kvRows,
  sendBackwardInterval,
  sendBackwardUnit,
  sendForwardUnit,
  unitLse,
  unitRows,
  type BackwardMemory,
  type ForwardMemory,
  type StepChannel,
  type UnitExchange,
} from '@ulysses/exchange';
import type { BackwardUnit, ForwardUnit } from '@ulysses/native';
import { rowBounds, type CarriedTensor } from '@ulysses/plan';
import { elementBytes } from '@ulysses/tensor';

/**
 * The main path of a rank. By now the plan is checked, memory is reserved and every rank said yes; what is left of a
 * pass is: exchange (a unit's rows arrive), attend, exchange back (its results leave at once), for every unit in plan order.
 */
export interface RunningStep {
  readonly exchange: UnitExchange;
  readonly channel: StepChannel;
  readonly device: Device;
  /** Inputs that a backward brings again; empty in forward. */
  readonly carried: readonly CarriedTensor[];
  readonly signal: AbortSignal;
}

/**
 * Most (row, key) pairs of one device call. Units that are all there are computed together up to this: a call of their own costs
 * more than small units take, and holding back results of large ones would cost more than a call.
 */
const CALL_PAIRS = 2 ** 19;

export async function runForward(step: RunningStep, memory: ForwardMemory): Promise<void> {
  const { length } = step.exchange.places.table.units;
  for (let begin = 0, end = 0; begin < length; begin = end) {
    end = await arrivedUnits(step, begin, true);
    const units = between(begin, end).map((unit) => forwardUnit(step, memory, unit));
    await step.device.forward(attentionJob(step), units, { signal: step.signal });
    for (const unit of between(begin, end)) sendForwardUnit(step.channel, step.exchange, memory, unit);
  }
  await step.channel.sent;
}

export async function runBackward(
  step: RunningStep,
  forward: ForwardMemory,
  memory: BackwardMemory,
): Promise<void> {
  const { table } = step.exchange.places;
  const lastReader = lastReaders(table.kvIntervalOfUnit);
  const [kvCarried, nothingKept] = [step.carried.includes('k'), step.carried.includes('q')];
  for (let begin = 0, end = 0; begin < table.units.length; begin = end) {
    end = await arrivedUnits(step, begin, kvCarried);
    const units = between(begin, end).map((unit) => backwardUnit(step, forward, memory, unit));
    if (nothingKept) await step.device.forward(attentionJob(step), units, { signal: step.signal });
    await step.device.backward(attentionJob(step), units, { signal: step.signal });
    for (const unit of between(begin, end)) {
      sendBackwardUnit(step.channel, step.exchange, memory, unit);
      const interval = table.kvIntervalOfUnit[unit] ?? -1;
      if (lastReader.get(interval) === unit) {
        sendBackwardInterval(step.channel, step.exchange, memory, interval);
      }
    }
  }
  await step.channel.sent;
}

/** Waits for a unit; returns the end of the units from it on that are there too and fit into one call with it. */
async function arrivedUnits(step: RunningStep, first: number, withKeys: boolean): Promise<number> {
  const { units } = step.exchange.places.table;
  for (const granule of granulesOf(step, first, withKeys)) await step.channel.granule(granule);
  let pairs = pairsOf(step, first);
  let end = first + 1;
  for (; end < units.length; end++) {
    pairs += pairsOf(step, end);
    const arrived = granulesOf(step, end, withKeys).every((granule) => step.channel.hasArrived(granule));
    if (pairs > CALL_PAIRS || !arrived) break;
  }
  return end;
}

/** A unit's own rows, and the rows of its KV interval where they travel. */
function granulesOf({ exchange }: RunningStep, unit: number, withKeys: boolean): number[] {
  const { units, kvIntervalOfUnit } = exchange.places.table;
  const interval = kvIntervalOfUnit[unit] ?? -1;
  return withKeys && interval >= 0 ? [unit, units.length + interval] : [unit];
}

function pairsOf({ exchange }: RunningStep, index: number): number {
  const { units, kvIntervals, kvIntervalOfUnit } = exchange.places.table;
  const unit = units[index] ?? { qBegin: 0, qEnd: 0 };
  const keys = kvIntervals[kvIntervalOfUnit[index] ?? -1] ?? { begin: 0, end: 0 };
  return (unit.qEnd - unit.qBegin) * (keys.end - keys.begin);
}

function between(begin: number, end: number): number[] {
  return Array.from({ length: end - begin }, (_, i) => begin + i);
}

function attentionJob({ exchange }: RunningStep): DeviceJob {
  const { dtype, headSize, scale } = exchange.plan.spec;
  return { dtype, headSize, scale };
}

function forwardUnit({ exchange }: RunningStep, memory: ForwardMemory, index: number): ForwardUnit {
  const { places, plan } = exchange;
  const { spec } = plan;
  const unit = places.table.units[index];
  const interval = places.table.kvIntervalOfUnit[index] ?? -1;
  const keys = places.table.kvIntervals[interval] ?? { begin: 0, end: 0 };
  if (unit === undefined) throw new RangeError(`unit ${index} is not in the table`);
  const bytes = elementBytes(spec.dtype);
  return {
    rows: unit.qEnd - unit.qBegin,
    kvRows: keys.end - keys.begin,
    bounds: rowBounds(spec, unit.batch, unit.qBegin, unit.qEnd, keys.begin),
    q: unitRows(places, memory.q, index),
    k: kvRows(places, memory.k, interval, bytes),
    v: kvRows(places, memory.v, interval, bytes),
    out: unitRows(places, memory.out, index),
    lse: unitLse(places, memory.lse, index),
  };
}

function backwardUnit(
  step: RunningStep,
  forward: ForwardMemory,
  memory: BackwardMemory,
  index: number,
): BackwardUnit {
  const { places } = step.exchange;
  const interval = places.table.kvIntervalOfUnit[index] ?? -1;
  return {
    ...forwardUnit(step, forward, index),
    dout: unitRows(places, memory.dout, index),
    dq: unitRows(places, memory.dq, index),
    dk: kvRows(places, memory.dk, interval, 4),
    dv: kvRows(places, memory.dv, interval, 4),
  };
}

/** Per KV interval, the last unit in plan order that reads it. */
function lastReaders(kvIntervalOfUnit: readonly number[]): Map<number, number> {
  const last = new Map<number, number>();
  kvIntervalOfUnit.forEach((interval, unit) => last.set(interval, unit));
  return last;
}
