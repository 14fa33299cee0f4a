import type { Device } from '@ulysses/device';
import { Region, type BackwardUnit, type Rows } from '@ulysses/native';
import type { WholeResult } from './cluster-step.js';
import type { Visible } from './reference-mask.js';
import type { StepInputs } from './step-inputs.js';

export interface DeviceStep {
  readonly device: Device;
  readonly visible: Visible;
  /** Where the rows of every head are cut into units, for example [100] for two units. */
  readonly cuts: readonly number[];
}

/**
 * Forward and backward of whole tensors [s, b, h, d] on one device, in place: a unit's rows are a head's rows of the
 * dense tensor, so strides are wide, and units of heads that share a KV head add to the same dk and dv.
 */
export async function runOnDevice(step: DeviceStep, inputs: StepInputs): Promise<WholeResult> {
  const { rows, batch, heads, headSize } = inputs.q.extents;
  const keys = inputs.k.extents.rows;
  const kvHeads = inputs.k.extents.heads;
  const filled = ({ data }: { data: ArrayLike<number> }): Region => {
    const region = Region.allocate(data.length * 4);
    region.float32().set(data);
    return region;
  };
  const like = (data: ArrayLike<number>): Region => Region.allocate(data.length * 4);
  const regions = {
    q: filled(inputs.q),
    k: filled(inputs.k),
    v: filled(inputs.v),
    dout: filled(inputs.dout),
    out: like(inputs.q.data),
    lse: Region.allocate(batch * heads * rows * 4),
    dq: like(inputs.q.data),
    dk: like(inputs.k.data),
    dv: like(inputs.v.data),
  };
  const at = (region: Region, row: number, columns: number, column: number): Rows => ({
    region,
    offsetBytes: (row * columns + column) * headSize * 4,
    rowStride: columns * headSize,
  });
  const units: BackwardUnit[] = [];
  for (let sample = 0; sample < batch; sample++) {
    for (let head = 0; head < heads; head++) {
      const q = sample * heads + head;
      const kv = sample * kvHeads + Math.floor((head * kvHeads) / heads);
      for (const [begin, end] of between([0, ...step.cuts, rows])) {
        const { first, last, bounds } = boundsOf(step.visible, sample, begin, end, keys);
        const qRows = (region: Region): Rows => at(region, begin, batch * heads, q);
        const kvRows = (region: Region): Rows => at(region, first, batch * kvHeads, kv);
        units.push({
          rows: end - begin,
          kvRows: last - first,
          bounds,
          q: qRows(regions.q),
          k: kvRows(regions.k),
          v: kvRows(regions.v),
          out: qRows(regions.out),
          lse: { region: regions.lse, offsetBytes: (q * rows + begin) * 4, rowStride: 1 },
          dout: qRows(regions.dout),
          dq: qRows(regions.dq),
          dk: kvRows(regions.dk),
          dv: kvRows(regions.dv),
        });
      }
    }
  }
  const job = { dtype: 'f32', headSize, scale: Math.fround(1 / Math.sqrt(headSize)) } as const;
  const { signal } = new AbortController();
  await step.device.forward(job, units, { signal });
  await step.device.backward(job, units, { signal });
  const result = {
    out: regions.out.float32().slice(),
    lse: regions.lse.float32().slice(),
    dq: regions.dq.float32().slice(),
    dk: regions.dk.float32().slice(),
    dv: regions.dv.float32().slice(),
  };
  for (const region of Object.values(regions)) region.free();
  return result;
}

function between(positions: readonly number[]): [number, number][] {
  return positions.slice(1).map((end, i) => [positions[i]!, end]);
}

/** The keys [first, last) that the rows of a unit see, and each row's part of them, relative to `first`. */
function boundsOf(
  visible: Visible,
  sample: number,
  begin: number,
  end: number,
  keys: number,
): { first: number; last: number; bounds: Int32Array } {
  const intervals: [number, number][] = [];
  for (let row = begin; row < end; row++) {
    let low = 0;
    while (low < keys && !visible(sample, row, low)) low++;
    let high = low;
    while (high < keys && visible(sample, row, high)) high++;
    intervals.push([low, high]);
  }
  const seen = intervals.filter(([low, high]) => low < high);
  const first = seen.reduce((least, [low]) => Math.min(least, low), keys);
  const last = seen.reduce((most, [, high]) => Math.max(most, high), 0);
  const bounds = new Int32Array(2 * (end - begin));
  intervals.forEach(([low, high], i) => {
    if (low < high) bounds.set([low - first, high - first], 2 * i);
  });
  return { first: Math.min(first, last), last, bounds };
}
