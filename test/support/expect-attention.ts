import { expect } from 'vitest';
import type { WholeResult } from './cluster-step.js';
import { largestDeviation, RELATIVE } from './error-bound.js';
import { referenceAttention, type AttentionReference } from './reference-attention.js';
import type { Visible } from './reference-mask.js';
import type { StepInputs } from './step-inputs.js';

export const RESULTS = ['out', 'lse', 'dq', 'dk', 'dv'] as const;

/** The float64 reference for what `stepInputs` made; a scale of null is the default, 1 / sqrt(d). */
export function referenceOf(
  { q, k, v, dout }: StepInputs,
  visible: Visible,
  scale: number | null = null,
): AttentionReference {
  const { rows, batch, heads, headSize } = q.extents;
  return referenceAttention({
    rows,
    keys: k.extents.rows,
    batch,
    heads,
    kvHeads: k.extents.heads,
    headSize,
    scale: scale ?? Math.fround(1 / Math.sqrt(headSize)),
    visible,
    q: q.data,
    k: k.data,
    v: v.data,
    dout: dout.data,
  });
}

/** Every tensor within its bound; a failure shows for each how many times its bound it is off. */
export function expectWithinBound(
  actual: WholeResult,
  expected: AttentionReference,
  relative: number = RELATIVE,
): void {
  const ratios = RESULTS.map((name) => ({
    name,
    ...largestDeviation(actual[name], expected[name], relative),
  }));
  expect(ratios.filter(({ ratio }) => !(ratio <= 1))).toEqual([]);
}

/** The bound sees a relative error of 1e-4 in every tensor that is not zero. */
export function expectBoundSees(expected: AttentionReference): void {
  const blind = RESULTS.filter((name) => {
    const { reference } = expected[name];
    if (reference.every((x) => x === 0)) return false;
    const planted = reference.map((x) => x * (1 + 1e-4));
    return largestDeviation(planted, expected[name]).ratio <= 1;
  });
  expect(blind).toEqual([]);
}

/** Bit for bit, zeros' signs included. */
export function expectSameBits(actual: WholeResult, expected: WholeResult): void {
  const differing = RESULTS.filter(
    (name) => Buffer.compare(bytesOf(actual[name]), bytesOf(expected[name])) !== 0,
  );
  expect(differing).toEqual([]);
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);
