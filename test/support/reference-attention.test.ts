import { describe, expect, it } from 'vitest';
import { C, EPSILON, largestDeviation, RELATIVE, type Expected } from './error-bound.js';
import { causal, full, visibleBy, type Visible } from './reference-mask.js';
import { referenceAttention, type AttentionInputs } from './reference-attention.js';
import { randomTensor } from './random-tensor.js';

interface Shape {
  rows: number;
  keys: number;
  batch: number;
  heads: number;
  kvHeads: number;
  headSize: number;
}

function inputsOf(shape: Shape, visible: Visible, seed = 1): AttentionInputs {
  const { rows, keys, batch, heads, kvHeads, headSize } = shape;
  const q = randomTensor(rows * batch * heads * headSize, seed);
  const k = randomTensor(keys * batch * kvHeads * headSize, seed + 1);
  const v = randomTensor(keys * batch * kvHeads * headSize, seed + 2);
  const dout = randomTensor(rows * batch * heads * headSize, seed + 3);
  return { ...shape, scale: Math.fround(1 / Math.sqrt(headSize)), visible, q, k, v, dout };
}

/** A result that is off by `relative` of every element. */
const off = ({ reference }: Expected, relative: number): Float64Array =>
  reference.map((x) => x * (1 + relative));

/** The result that float32 arithmetic would give at best: the reference, rounded. */
const rounded = ({ reference }: Expected): Float32Array => Float32Array.from(reference);

describe('the float64 reference', () => {
  it('agrees with two keys worked out by hand', () => {
    // One query q = 2 against k = 1, 3 at scale 0.5: scores 1, 3.
    const result = referenceAttention({
      ...{ rows: 1, keys: 2, batch: 1, heads: 1, kvHeads: 1, headSize: 1, scale: 0.5, visible: full },
      ...{ q: [2], k: [1, 3], v: [10, -20], dout: [3] },
    });
    const p1 = 1 / (1 + Math.exp(-2));
    const p0 = 1 - p1;
    expect(result.out.reference[0]).toBeCloseTo(10 * p0 - 20 * p1, 12);
    expect(result.out.magnitude[0]).toBeCloseTo(10 * p0 + 20 * p1, 12);
    expect(result.lse.reference[0]).toBeCloseTo(Math.log(Math.exp(1) + Math.exp(3)), 12);
    expect([...result.dv.reference]).toEqual([expect.closeTo(3 * p0, 12), expect.closeTo(3 * p1, 12)]);
    // dp = 30, -60; ds0 = p0 (30 - δ) = p0 p1 90 = -ds1; dq = scale (ds0 * 1 + ds1 * 3); dk = scale ds q.
    const ds0 = 90 * p0 * p1;
    expect(result.dq.reference[0]).toBeCloseTo(0.5 * (ds0 - 3 * ds0), 12);
    expect([...result.dk.reference]).toEqual([expect.closeTo(ds0, 12), expect.closeTo(-ds0, 12)]);
  });

  const shapes: [string, Shape, Visible][] = [
    ['full', { rows: 5, keys: 5, batch: 2, heads: 2, kvHeads: 2, headSize: 3 }, full],
    [
      'causal, three heads share a KV head',
      { rows: 5, keys: 5, batch: 1, heads: 3, kvHeads: 1, headSize: 2 },
      causal,
    ],
    [
      'more keys than rows',
      { rows: 3, keys: 7, batch: 1, heads: 1, kvHeads: 1, headSize: 5 },
      (_b, row, key) => key <= row + 4,
    ],
    [
      'a row that sees nothing',
      { rows: 4, keys: 4, batch: 1, heads: 1, kvHeads: 1, headSize: 2 },
      (_b, row, key) => row !== 2 && key <= row,
    ],
  ];
  it.each(shapes)('has gradients that finite differences confirm: %s', (_title, shape, visible) => {
    const inputs = inputsOf(shape, visible);
    const result = referenceAttention(inputs);
    const loss = (changed: Partial<AttentionInputs>): number =>
      referenceAttention({ ...inputs, ...changed }).out.reference.reduce(
        (sum, x, i) => sum + x * inputs.dout[i]!,
        0,
      );
    const step = 1e-5;
    for (const name of ['q', 'k', 'v'] as const) {
      const gradient = { q: result.dq, k: result.dk, v: result.dv }[name].reference;
      for (let i = 0; i < gradient.length; i++) {
        const moved = (by: number): number => {
          const tensor = Float64Array.from(inputs[name]);
          tensor[i]! += by;
          return loss({ [name]: tensor });
        };
        expect((moved(step) - moved(-step)) / (2 * step)).toBeCloseTo(gradient[i]!, 7);
      }
    }
  });

  it('gives a row that sees nothing out = 0, lse = -Infinity and dq = 0', () => {
    const shape = { rows: 3, keys: 3, batch: 1, heads: 1, kvHeads: 1, headSize: 2 };
    const { out, lse, dq } = referenceAttention(inputsOf(shape, (_b, row, key) => row !== 1 && key <= row));
    expect([...out.reference.subarray(2, 4)]).toEqual([0, 0]);
    expect(lse.reference[1]).toBe(-Infinity);
    expect([...dq.reference.subarray(2, 4)]).toEqual([0, 0]);
  });

  it('does not depend on where its blocks of rows begin', () => {
    // 150 rows are three blocks; the same rows, asked one sample later, are cut in the same places, so ask a part.
    const inputs = inputsOf({ rows: 150, keys: 150, batch: 1, heads: 1, kvHeads: 1, headSize: 6 }, causal);
    const whole = referenceAttention(inputs);
    const tail = referenceAttention({
      ...inputs,
      rows: 50,
      q: Array.from(inputs.q).slice(100 * 6),
      dout: Array.from(inputs.dout).slice(100 * 6),
      visible: (_b, row, key) => key <= row + 100,
    });
    tail.out.reference.forEach((x, i) => expect(x).toBeCloseTo(whole.out.reference[100 * 6 + i]!, 12));
    tail.dq.reference.forEach((x, i) => expect(x).toBeCloseTo(whole.dq.reference[100 * 6 + i]!, 12));
  });
});

describe('the mask predicate', () => {
  const picture = (visible: Visible, rows: number, keys: number, batch = 0): string[] =>
    Array.from({ length: rows }, (_, row) =>
      Array.from({ length: keys }, (_, key) => (visible(batch, row, key) ? 'x' : '.')).join(''),
    );
  const none = { left: null, right: null, segments: null, validRanges: null };

  it('puts the causal diagonal at the bottom right when there are more keys than rows', () => {
    expect(picture(visibleBy({ ...none, right: 0 }, 2, 4), 2, 4)).toEqual(['xxx.', 'xxxx']);
  });
  it('hides everything from the first rows when there are more rows than keys', () => {
    expect(picture(visibleBy({ ...none, right: 0 }, 4, 2), 4, 2)).toEqual(['..', '..', 'x.', 'xx']);
  });
  it('cuts a band on both sides', () => {
    expect(picture(visibleBy({ ...none, left: 1, right: 1 }, 4, 4), 4, 4)).toEqual([
      'xx..',
      'xxx.',
      '.xxx',
      '..xx',
    ]);
  });
  it('gives every segment a diagonal of its own', () => {
    const segments = { cuSeqlensQ: [0, 1, 1, 3], cuSeqlensKv: [0, 1, 2, 5] };
    expect(picture(visibleBy({ ...none, right: 0, segments }, 3, 5), 3, 5)).toEqual([
      'x....',
      '..xx.',
      '..xxx',
    ]);
  });
  it('bounds rows and keys by the valid range of their sample, with the diagonal of the whole extents', () => {
    const validRanges = {
      q: [
        { begin: 0, end: 3 },
        { begin: 1, end: 3 },
      ],
      kv: [
        { begin: 0, end: 3 },
        { begin: 1, end: 3 },
      ],
    };
    expect(picture(visibleBy({ ...none, right: 0, validRanges }, 3, 3), 3, 3, 1)).toEqual([
      '...',
      '.x.',
      '.xx',
    ]);
  });
});

describe('the error bound', () => {
  const shapes: [string, Shape, Visible][] = [
    ['127 rows, d 64', { rows: 127, keys: 127, batch: 1, heads: 2, kvHeads: 1, headSize: 64 }, causal],
    ['1000 rows, d 80', { rows: 1000, keys: 1000, batch: 1, heads: 1, kvHeads: 1, headSize: 80 }, full],
    ['5 rows, d 1', { rows: 5, keys: 5, batch: 2, heads: 3, kvHeads: 3, headSize: 1 }, causal],
  ];
  it.each(shapes)('accepts rounding and refuses a relative error of 1e-4: %s', (_title, shape, visible) => {
    const result = referenceAttention(inputsOf(shape, visible));
    for (const expected of [result.out, result.lse, result.dq, result.dk, result.dv]) {
      expect(largestDeviation(rounded(expected), expected).ratio).toBeLessThan(1);
      expect(largestDeviation(off(expected, 1e-4), expected).ratio).toBeGreaterThan(1);
    }
  });

  it('accepts a zero gradient that float32 leaves a residue of, by B alone', () => {
    const result = referenceAttention(
      inputsOf({ rows: 1, keys: 1, batch: 1, heads: 1, kvHeads: 1, headSize: 64 }, causal),
    );
    for (const expected of [result.dq, result.dk]) {
      expect([...expected.reference].every((x) => x === 0)).toBe(true);
      const residue = expected.magnitude.map((size) => 0.5 * C * EPSILON * size);
      expect(largestDeviation(residue, expected).ratio).toBeCloseTo(0.5, 6);
      expect(
        largestDeviation(
          expected.magnitude.map((size) => 1e-4 * size),
          expected,
        ).ratio,
      ).toBeGreaterThan(100);
    }
  });

  const one: Expected = {
    reference: Float64Array.of(1, -Infinity, 3, 4),
    magnitude: Float64Array.of(1, 0, 3, 4),
    heads: 2,
    headOf: (i) => Math.floor(i / 2),
  };
  it('judges every head by itself and names the one that is off', () => {
    const actual = [1, -Infinity, 3, 4 + 10 * 5 * (RELATIVE + C * EPSILON)];
    expect(largestDeviation(actual, one)).toEqual({ ratio: expect.closeTo(10, 6), head: 1 });
  });
  it.each([
    ['NaN', [1, -Infinity, 3, NaN]],
    ['a number where -Infinity is due', [1, -1e30, 3, 4]],
    ['-Infinity where a number is due', [1, -Infinity, -Infinity, 4]],
  ])('refuses %s', (_title, actual) => {
    expect(largestDeviation(actual, one).ratio).toBe(Infinity);
  });
  it('refuses a result of another length', () => {
    expect(() => largestDeviation([1], one)).toThrow('result has 1 elements, expected 4');
  });
});
