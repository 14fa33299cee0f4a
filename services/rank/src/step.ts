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

export async function runForward(step: RunningStep, memory: ForwardMemory): Promise<void> {
  const { table } = step.exchange.places;
  for (let unit = 0; unit < table.units.length; unit++) {
    await unitArrived(step, unit);
    await intervalArrived(step, unit);
    await step.device.forward(attentionJob(step), [forwardUnit(step, memory, unit)], { signal: step.signal });
    sendForwardUnit(step.channel, step.exchange, memory, unit);
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
  for (let unit = 0; unit < table.units.length; unit++) {
    await unitArrived(step, unit);
    if (kvCarried) await intervalArrived(step, unit);
    const inputs = backwardUnit(step, forward, memory, unit);
    if (nothingKept) await step.device.forward(attentionJob(step), [inputs], { signal: step.signal });
    await step.device.backward(attentionJob(step), [inputs], { signal: step.signal });
    sendBackwardUnit(step.channel, step.exchange, memory, unit);
    const interval = table.kvIntervalOfUnit[unit] ?? -1;
    if (lastReader.get(interval) === unit) {
      sendBackwardInterval(step.channel, step.exchange, memory, interval);
    }
  }
  await step.channel.sent;
}

function unitArrived({ channel }: RunningStep, unit: number): Promise<void> {
  return channel.granule(unit);
}

async function intervalArrived({ channel, exchange }: RunningStep, unit: number): Promise<void> {
  const { units, kvIntervalOfUnit } = exchange.places.table;
  const interval = kvIntervalOfUnit[unit] ?? -1;
  if (interval >= 0) await channel.granule(units.length + interval);
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
