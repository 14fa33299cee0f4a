import { detectIsa, ISAS, Region, type BackwardUnit, type Rows } from '@ulysses/native';
import { describe, expect, it } from 'vitest';
import { cpuDevice } from './cpu.js';
import type { Device, DeviceJob } from './device.js';
import { referenceDevice } from './reference.js';

/** Every adapter of the port; the kernels once per instruction set that this machine has. */
const DEVICES: [string, Device][] = [
  ['reference', referenceDevice()],
  ...ISAS.slice(ISAS.indexOf(detectIsa())).map((isa): [string, Device] => [
    `cpu, ${isa}`,
    cpuDevice({ threads: 2, isa }),
  ]),
];
const { signal } = new AbortController();

/** Rows [rows, d] in a region of their own. */
function rowsOf(values: readonly number[], rowStride: number): Rows {
  const region = Region.allocate(values.length * 4);
  region.float32().set(values);
  return { region, offsetBytes: 0, rowStride };
}

const valuesOf = ({ region }: Rows): number[] => [...region.float32()];

interface Contents {
  readonly headSize: number;
  readonly q: readonly number[];
  readonly k: readonly number[];
  readonly v: readonly number[];
  readonly bounds: readonly number[];
  readonly dout: readonly number[];
}

/** A unit with outputs that hold 9 everywhere (what was not written shows), dk and dv that hold 0. */
function unitOf({ headSize: d, q, k, v, bounds, dout }: Contents): BackwardUnit {
  const nines = (length: number): number[] => new Array<number>(length).fill(9);
  return {
    rows: q.length / d,
    kvRows: k.length / d,
    bounds: Int32Array.from(bounds),
    q: rowsOf(q, d),
    k: rowsOf(k, d),
    v: rowsOf(v, d),
    out: rowsOf(nines(q.length), d),
    lse: rowsOf(nines(q.length / d), 1),
    dout: rowsOf(dout, d),
    dq: rowsOf(nines(q.length), d),
    dk: rowsOf(new Array<number>(k.length).fill(0), d),
    dv: rowsOf(new Array<number>(v.length).fill(0), d),
  };
}

const jobOf = (headSize: number, scale = 1): DeviceJob => ({ dtype: 'f32', headSize, scale });
/** To 1e-5 of the value; the bound that kernels are held to is tested in test/parity. */
const near = (values: readonly number[]): unknown[] =>
  values.map((value): unknown => expect.closeTo(value, 5 - Math.log10(Math.abs(value))));

describe.each(DEVICES)('device %s', (_name, device) => {
  it('gives two keys their softmax weights, and gradients worked out by hand', async () => {
    // One query q = 2 against k = 1, 3 at scale 0.5: scores 1, 3.
    const unit = unitOf({ headSize: 1, q: [2], k: [1, 3], v: [10, -20], bounds: [0, 2], dout: [3] });
    await device.forward(jobOf(1, 0.5), [unit], { signal });
    const p1 = 1 / (1 + Math.exp(-2));
    const p0 = 1 - p1;
    expect(valuesOf(unit.out)).toEqual(near([10 * p0 - 20 * p1]));
    expect(valuesOf(unit.lse)).toEqual(near([Math.log(Math.exp(1) + Math.exp(3))]));
    await device.backward(jobOf(1, 0.5), [unit], { signal });
    const ds0 = 90 * p0 * p1;
    expect(valuesOf(unit.dq)).toEqual(near([0.5 * (ds0 - 3 * ds0)]));
    expect(valuesOf(unit.dk)).toEqual(near([ds0, -ds0]));
    expect(valuesOf(unit.dv)).toEqual(near([3 * p0, 3 * p1]));
  });

  it('gives a row that sees no key out = 0, lse = -Infinity and dq = 0, and it adds nothing to dk and dv', async () => {
    const unit = unitOf({ headSize: 2, q: [1, 2], k: [3, 4], v: [5, 6], bounds: [0, 0], dout: [7, 8] });
    await device.forward(jobOf(2), [unit], { signal });
    await device.backward(jobOf(2), [unit], { signal });
    expect(valuesOf(unit.out)).toEqual([0, 0]);
    expect(valuesOf(unit.lse)).toEqual([-Infinity]);
    expect(valuesOf(unit.dq)).toEqual([0, 0]);
    expect(valuesOf(unit.dk)).toEqual([0, 0]);
    expect(valuesOf(unit.dv)).toEqual([0, 0]);
  });

  it('lets a row that sees one key return its value, whatever other rows see', async () => {
    const contents = { headSize: 1, q: [1, 1, 1], k: [100, 2, -3], v: [10, 20, 30], dout: [1, 1, 1] };
    const unit = unitOf({ ...contents, bounds: [1, 2, 0, 1, 2, 3] });
    await device.forward(jobOf(1), [unit], { signal });
    expect(valuesOf(unit.out)).toEqual([20, 10, 30]);
  });

  it('reads and writes rows at their strides and touches nothing between them', async () => {
    const wide = { region: Region.allocate(4 * 12), offsetBytes: 4, rowStride: 6 };
    wide.region.float32().fill(7);
    const unit = unitOf({
      headSize: 2,
      q: [1, 2, 3, 4],
      k: [1, 1],
      v: [5, 6],
      bounds: [0, 1, 0, 1],
      dout: [0, 0, 0, 0],
    });
    await device.forward(jobOf(2), [{ ...unit, out: wide }], { signal });
    expect(valuesOf(wide)).toEqual([7, 5, 6, 7, 7, 7, 7, 5, 6, 7, 7, 7]);
  });

  it('adds to dk and dv: a unit given twice counts twice', async () => {
    const contents = { headSize: 1, q: [2], k: [1, 3], v: [10, -20], bounds: [0, 2], dout: [3] };
    const [once, twice] = [unitOf(contents), unitOf(contents)];
    for (const unit of [once, twice]) await device.forward(jobOf(1), [unit], { signal });
    await device.backward(jobOf(1), [once], { signal });
    await device.backward(jobOf(1), [twice, { ...twice, dq: rowsOf([9], 1) }], { signal });
    expect(valuesOf(twice.dk)).toEqual(near(valuesOf(once.dk).map((x) => 2 * x)));
    expect(valuesOf(twice.dv)).toEqual(near(valuesOf(once.dv).map((x) => 2 * x)));
  });

  it('takes a call without units', async () => {
    await expect(device.forward(jobOf(1), [], { signal })).resolves.toBeUndefined();
  });

  it('rejects with CANCELLED when its signal has aborted', async () => {
    const unit = unitOf({ headSize: 1, q: [1], k: [1], v: [1], bounds: [0, 1], dout: [1] });
    const aborted = { signal: AbortSignal.abort() };
    await expect(device.forward(jobOf(1), [unit], aborted)).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(device.backward(jobOf(1), [unit], aborted)).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(valuesOf(unit.out)).toEqual([9]);
  });

  it('stops when it is cancelled at work', async () => {
    const rows = 20_000;
    const ones = new Array<number>(rows * 4).fill(1);
    const bounds = new Array<number>(2 * rows).fill(0).map((_, i) => (i % 2) * rows);
    const unit = unitOf({ headSize: 4, q: ones, k: ones, v: ones, bounds, dout: ones });
    const controller = new AbortController();
    const call = device.forward(jobOf(4), [unit], { signal: controller.signal });
    setImmediate(() => controller.abort());
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
    // Once it has settled nothing writes any more: rows it did not reach keep what they held.
    expect(valuesOf(unit.lse).at(-1)).toBe(9);
  });
});

describe('cpu device', () => {
  it.each([0, -1, 1.5, NaN])('refuses %d threads', (threads) => {
    expect(() => cpuDevice({ threads })).toThrow('threads is');
  });
});
