import { expect, test } from 'vitest';
import {
  ISAS,
  Region,
  attentionBackward,
  attentionForward,
  detectIsa,
  type AttentionJob,
  type Rows,
} from './index.js';

/** Deterministic values in (-1, 1), exact in every dtype. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.round((state / 2 ** 31 - 1) * 64) / 64;
  };
}

/** [rows, width] floats of a head that lies among `heads` others in [rows, heads, width], as BSHD does. */
class Tensor {
  readonly region: Region;
  constructor(
    readonly rows: number,
    readonly width: number,
    readonly heads: number,
    value: (() => number) | null,
  ) {
    this.region = Region.allocate(rows * heads * width * 4);
    if (value !== null) this.region.float32().forEach((_, i, floats) => (floats[i] = value()));
  }

  head(head: number): Rows {
    return { region: this.region, offsetBytes: head * this.width * 4, rowStride: this.heads * this.width };
  }

  at(row: number, head: number, column: number): number {
    return this.region.float32()[(row * this.heads + head) * this.width + column]!;
  }
}

const [ROWS, KV_ROWS, HEADS, KV_HEADS, D, SCALE] = [13, 19, 4, 2, 5, 0.7];
/** Causal with the diagonal at the bottom right, but rows 3 and 4 see nothing. */
const BOUNDS = Int32Array.from({ length: ROWS * 2 }, (_, i) => {
  const row = i >> 1;
  if (row === 3) return 7;
  if (row === 4) return i % 2 === 0 ? 9 : 2;
  return i % 2 === 0 ? 0 : row + KV_ROWS - ROWS + 1;
});
const JOB: AttentionJob = { dtype: 'f32', headSize: D, scale: SCALE, threads: 2 };

function inputs(seed: number) {
  const value = random(seed);
  const [q, dout] = [new Tensor(ROWS, D, HEADS, value), new Tensor(ROWS, D, HEADS, value)];
  const [k, v] = [new Tensor(KV_ROWS, D, KV_HEADS, value), new Tensor(KV_ROWS, D, KV_HEADS, value)];
  const [out, dq] = [new Tensor(ROWS, D, HEADS, null), new Tensor(ROWS, D, HEADS, () => NaN)];
  const [dk, dv] = [new Tensor(KV_ROWS, D, KV_HEADS, () => 1), new Tensor(KV_ROWS, D, KV_HEADS, () => 2)];
  const lse = new Tensor(ROWS, 1, HEADS, () => NaN);
  const units = Array.from({ length: HEADS }, (_, head) => {
    const kvHead = Math.floor((head * KV_HEADS) / HEADS);
    return {
      rows: ROWS,
      kvRows: KV_ROWS,
      bounds: BOUNDS,
      q: q.head(head),
      k: k.head(kvHead),
      v: v.head(kvHead),
      out: out.head(head),
      lse: lse.head(head),
      dout: dout.head(head),
      dq: dq.head(head),
      dk: dk.head(kvHead),
      dv: dv.head(kvHead),
    };
  });
  return { q, k, v, out, lse, dout, dq, dk, dv, units };
}

/** Definition of attention and its gradients, in float64. */
function reference({ q, k, v, dout }: ReturnType<typeof inputs>) {
  const zeros = (rows: number, heads: number) =>
    Array.from({ length: rows }, () => Array.from({ length: heads }, () => new Array<number>(D).fill(0)));
  const [out, dq] = [zeros(ROWS, HEADS), zeros(ROWS, HEADS)];
  const [dk, dv] = [zeros(KV_ROWS, KV_HEADS), zeros(KV_ROWS, KV_HEADS)];
  const lse = Array.from({ length: ROWS }, () => new Array<number>(HEADS).fill(-Infinity));
  const columns = [...Array(D).keys()];
  for (let head = 0; head < HEADS; head++) {
    const kv = Math.floor((head * KV_HEADS) / HEADS);
    for (let i = 0; i < ROWS; i++) {
      const dot = (x: Tensor, j: number, y: Tensor) =>
        columns.reduce((sum, c) => sum + y.at(i, head, c) * x.at(j, kv, c), 0);
      const keys: number[] = [];
      for (let j = BOUNDS[2 * i]!; j < BOUNDS[2 * i + 1]!; j++) keys.push(j);
      const total = keys.reduce((sum, j) => sum + Math.exp(SCALE * dot(k, j, q)), 0);
      if (keys.length > 0) lse[i]![head] = Math.log(total);
      const p = new Map(keys.map((j) => [j, Math.exp(SCALE * dot(k, j, q)) / total]));
      for (const j of keys) for (const c of columns) out[i]![head]![c]! += p.get(j)! * v.at(j, kv, c);
      const delta = columns.reduce((sum, c) => sum + out[i]![head]![c]! * dout.at(i, head, c), 0);
      for (const j of keys) {
        const ds = p.get(j)! * (dot(v, j, dout) - delta) * SCALE;
        for (const c of columns) {
          dq[i]![head]![c]! += ds * k.at(j, kv, c);
          dk[j]![kv]![c]! += ds * q.at(i, head, c);
          dv[j]![kv]![c]! += p.get(j)! * dout.at(i, head, c);
        }
      }
    }
  }
  return { out, lse, dq, dk, dv };
}

/** Largest absolute difference; values here are of order 1. */
function difference(tensor: Tensor, expected: number[][][], offset = 0): number {
  let largest = 0;
  expected.forEach((heads, row) =>
    heads.forEach((columns, head) =>
      columns.forEach((value, column) => {
        const error = Math.abs(tensor.at(row, head, column) - offset - value);
        largest = error <= largest ? largest : error;
      }),
    ),
  );
  return largest;
}

const available = ISAS.slice(ISAS.indexOf(detectIsa()));

test.each(available)('forward and backward of grouped heads are the float64 definition (%s)', async (isa) => {
  const tensors = inputs(7);
  const expected = reference(tensors);
  await attentionForward(JOB, tensors.units, { isa });
  expect(difference(tensors.out, expected.out)).toBeLessThan(2e-6);
  const lse = expected.lse.map((heads) => heads.map((value) => (Number.isFinite(value) ? value : 0)));
  expect(tensors.lse.at(3, 0, 0)).toBe(-Infinity);
  expect(tensors.lse.at(4, 2, 0)).toBe(-Infinity);
  const floats = tensors.lse.region.float32();
  floats.forEach((value, i) => {
    if (value === -Infinity) floats[i] = 0;
  });
  expect(
    difference(
      tensors.lse,
      lse.map((heads) => heads.map((value) => [value])),
    ),
  ).toBeLessThan(2e-6);

  await attentionBackward(JOB, tensors.units, { isa });
  expect(difference(tensors.dq, expected.dq)).toBeLessThan(4e-6);
  // Added to what was there.
  expect(difference(tensors.dk, expected.dk, 1)).toBeLessThan(4e-6);
  expect(difference(tensors.dv, expected.dv, 2)).toBeLessThan(4e-6);
});

test('rows that see nothing get zeros', async () => {
  const tensors = inputs(3);
  await attentionForward(JOB, tensors.units);
  for (let column = 0; column < D; column++) expect(tensors.out.at(3, 1, column)).toBe(0);
});

test('halves are read and rounded once', async () => {
  // One key: out is v itself, lse the one score.
  const [region, d] = [Region.allocate(4096), 3];
  const halves = new Uint16Array(region.bytes.buffer);
  const at = (offsetBytes: number, rowStride: number) => ({ region, offsetBytes, rowStride });
  for (const [dtype, one, v] of [
    ['f16', 0x3c00, [0x3555, 0xc000, 0x0001]],
    // The smallest normal one: matrix instructions take subnormal bfloat16 for zero.
    ['bf16', 0x3f80, [0x3eab, 0xc000, 0x0080]],
  ] as const) {
    halves.set([one, one, one], 0);
    halves.set(v, 64);
    const unit = {
      rows: 1,
      kvRows: 1,
      bounds: Int32Array.of(0, 1),
      q: at(0, d),
      k: at(0, d),
      v: at(128, d),
      out: at(256, d),
      lse: at(512, 1),
    };
    await attentionForward({ dtype, headSize: d, scale: 0.5, threads: 1 }, [unit]);
    expect([...halves.subarray(128, 131)]).toEqual(v);
    expect(region.float32(512, 1)[0]).toBeCloseTo(1.5, 5);
  }
});

test('bounds may be reused as soon as the call returns', async () => {
  const tensors = inputs(11);
  const expected = reference(tensors);
  const bounds = BOUNDS.slice();
  const done = attentionForward(
    JOB,
    tensors.units.map((unit) => ({ ...unit, bounds })),
  );
  bounds.fill(0);
  await done;
  expect(difference(tensors.out, expected.out)).toBeLessThan(2e-6);
});

test('no units is no work', async () => {
  await attentionForward(JOB, []);
  await attentionBackward(JOB, []);
});
