import { cpuDevice, type Device } from '@ulysses/device';
import { Region, type BackwardUnit, type Rows } from '@ulysses/native';
import { createPlan, rankTable, rowBounds, type StepSpec } from '@ulysses/plan';
import { elementBytes } from '@ulysses/tensor';
import type { StepShape } from './owners.js';

/** The same step on one device of this process, without any exchange: what the kernels alone take. */
export class OneProcess {
  readonly #device: Device;
  readonly #spec: StepSpec;
  readonly #units: readonly BackwardUnit[];
  readonly #gradients: readonly Region[];

  constructor({ rows, heads, headSize, dtype }: StepShape, threads: number) {
    this.#device = cpuDevice({ threads });
    const spec: StepSpec = {
      dtype,
      layout: 'sbhd',
      batch: 1,
      qHeads: heads,
      kvHeads: heads,
      headSize,
      qSplits: [rows],
      kvSplits: [rows],
      mask: { left: null, right: 0, segments: null, validRanges: null },
      scale: Math.fround(1 / Math.sqrt(headSize)),
      strategy: 'heads',
      weights: null,
    };
    this.#spec = spec;
    const bytes = rows * heads * headSize * elementBytes(dtype);
    const gradientBytes = rows * heads * headSize * 4;
    const [q, k, v, dout, out, dq] = Array.from({ length: 6 }, () => filled(bytes, dtype)) as [
      Region,
      Region,
      Region,
      Region,
      Region,
      Region,
    ];
    const [dk, dv] = [Region.allocate(gradientBytes), Region.allocate(gradientBytes)];
    const lse = Region.allocate(rows * heads * 4);
    this.#gradients = [dk, dv];
    const at = (region: Region, head: number, size: number): Rows => ({
      region,
      offsetBytes: head * rows * headSize * size,
      rowStride: headSize,
    });
    const bounds = rowBounds(spec, 0, 0, rows, 0);
    this.#units = rankTable(createPlan(spec, 1), 0).units.map(({ qHead }): BackwardUnit => {
      const like = (region: Region): Rows => at(region, qHead, elementBytes(dtype));
      return {
        rows,
        kvRows: rows,
        bounds,
        q: like(q),
        k: like(k),
        v: like(v),
        out: like(out),
        lse: { region: lse, offsetBytes: qHead * rows * 4, rowStride: 1 },
        dout: like(dout),
        dq: like(dq),
        dk: at(dk, qHead, 4),
        dv: at(dv, qHead, 4),
      };
    });
  }

  /** Milliseconds of one forward and backward. */
  async step(): Promise<number> {
    const { dtype, headSize, scale } = this.#spec;
    const { signal } = new AbortController();
    const began = performance.now();
    await this.#device.forward({ dtype, headSize, scale }, this.#units, { signal });
    for (const region of this.#gradients) region.bytes.fill(0);
    await this.#device.backward({ dtype, headSize, scale }, this.#units, { signal });
    return performance.now() - began;
  }
}

function filled(bytes: number, dtype: StepShape['dtype']): Region {
  const region = Region.allocate(bytes);
  const values = region.float32();
  for (let i = 0; i < values.length; i++) values[i] = Math.sin(i * 0.7);
  // Every second 16 bits of a small float32 are a small bf16 too; the others could be anything, so all are the same.
  if (dtype === 'bf16') {
    const halves = new Uint16Array(values.buffer, values.byteOffset, bytes / 2);
    for (let i = 0; i + 1 < halves.length; i += 2) halves[i] = halves[i + 1]!;
  }
  return region;
}
