import { UlyssesError } from '@ulysses/errors';
import type { BackwardUnit, ForwardUnit } from '@ulysses/native';
import type { Device, DeviceJob } from './device.js';
import { elementsOf, type Elements } from './elements.js';

/**
 * Slow, obvious, float64: what the kernels are compared with, and a device that runs wherever Node does. Only what it
 * writes is rounded, to the job's dtype. Rows are computed one by one, with a turn of the event loop after each.
 */
export function referenceDevice(): Device {
  return {
    name: 'reference',
    async forward(job, units, { signal }) {
      for (const unit of units) {
        const tensors = forwardTensors(job, unit);
        for (let row = 0; row < unit.rows; row++) {
          await turn(signal);
          forwardRow(job, unit, tensors, row);
        }
      }
    },
    async backward(job, units, { signal }) {
      for (const unit of units) {
        const tensors = backwardTensors(job, unit);
        for (let row = 0; row < unit.rows; row++) {
          await turn(signal);
          backwardRow(job, unit, tensors, row);
        }
      }
    },
  };
}

interface ForwardTensors {
  readonly q: Elements;
  readonly k: Elements;
  readonly v: Elements;
  readonly out: Elements;
  readonly lse: Elements;
}

interface BackwardTensors extends ForwardTensors {
  readonly dout: Elements;
  readonly dq: Elements;
  readonly dk: Elements;
  readonly dv: Elements;
}

function forwardRow(
  job: DeviceJob,
  unit: ForwardUnit,
  { q, k, v, out, lse }: ForwardTensors,
  row: number,
): void {
  const [begin, end] = boundsOf(unit, row);
  const scores: number[] = [];
  for (let key = begin; key < end; key++) scores.push(job.scale * dot(q, row, k, key, job.headSize));
  const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = scores.map((score) => Math.exp(score - largest));
  const sum = weights.reduce((a, b) => a + b, 0);
  for (let x = 0; x < job.headSize; x++) {
    let value = 0;
    weights.forEach((weight, i) => (value += (weight / sum) * v.get(begin + i, x)));
    out.set(row, x, value);
  }
  lse.set(row, 0, sum === 0 ? -Infinity : largest + Math.log(sum));
}

/** p from the stored lse, δ from the stored out: the same inputs as every other device has. */
function backwardRow(job: DeviceJob, unit: BackwardUnit, tensors: BackwardTensors, row: number): void {
  const { q, k, v, out, lse, dout, dq, dk, dv } = tensors;
  const { headSize, scale } = job;
  const [begin, end] = boundsOf(unit, row);
  const delta = dot(dout, row, out, row, headSize);
  const dqRow = new Float64Array(headSize);
  for (let key = begin; key < end; key++) {
    const p = Math.exp(scale * dot(q, row, k, key, headSize) - lse.get(row, 0));
    const ds = scale * p * (dot(dout, row, v, key, headSize) - delta);
    for (let x = 0; x < headSize; x++) {
      dqRow[x]! += ds * k.get(key, x);
      dk.set(key, x, dk.get(key, x) + ds * q.get(row, x));
      dv.set(key, x, dv.get(key, x) + p * dout.get(row, x));
    }
  }
  for (let x = 0; x < headSize; x++) dq.set(row, x, dqRow[x]!);
}

function dot(a: Elements, aRow: number, b: Elements, bRow: number, headSize: number): number {
  let sum = 0;
  for (let x = 0; x < headSize; x++) sum += a.get(aRow, x) * b.get(bRow, x);
  return sum;
}

/** The keys [begin, end) that a row sees; an interval that is empty or turned round is empty. */
function boundsOf(unit: ForwardUnit, row: number): [begin: number, end: number] {
  const begin = unit.bounds[2 * row]!;
  return [begin, Math.max(begin, unit.bounds[2 * row + 1]!)];
}

function forwardTensors({ dtype }: DeviceJob, unit: ForwardUnit): ForwardTensors {
  return {
    q: elementsOf(unit.q, dtype),
    k: elementsOf(unit.k, dtype),
    v: elementsOf(unit.v, dtype),
    out: elementsOf(unit.out, dtype),
    lse: elementsOf(unit.lse, 'f32'),
  };
}

function backwardTensors(job: DeviceJob, unit: BackwardUnit): BackwardTensors {
  return {
    ...forwardTensors(job, unit),
    dout: elementsOf(unit.dout, job.dtype),
    dq: elementsOf(unit.dq, job.dtype),
    dk: elementsOf(unit.dk, 'f32'),
    dv: elementsOf(unit.dv, 'f32'),
  };
}

/** Lets other work run, and leaves when the call is cancelled. */
async function turn(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  if (signal.aborted) throw new UlyssesError('CANCELLED', 'the call was cancelled', {}, signal.reason);
}
