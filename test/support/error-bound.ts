/**
 * How far a float32 result may be from the float64 reference, in the L2 norm of one head:
 *
 *   |x - ref| <= 2e-6 |ref| + C * EPSILON * |B|
 *
 * B is the reference computed with absolute values in place of every product and difference, so it is the size of what
 * was added up, not of what was left after cancellation. EPSILON is float32's, the distance from 1 to its neighbour.
 *
 * C = 1. A sum of n rounded products may be off by n/2 * EPSILON * B, but roundings have either sign and partial sums
 * stay far below B, so what is seen is a small part of EPSILON * B: kernels reach 0.4 of their bound in the cases of
 * test/parity, and 0.65 in two kinds of them. At s = 1 dp - δ is nothing but rounding. At d = 1 scores reach 20, the
 * exponent of exp(s - lse) is rounded by 20 * EPSILON / 2, and p with it; B does not hold that term.
 * Nor may C be larger: with n keys of similar weight |B| / |ref| grows like sqrt(n) and sqrt(d), up to 600 in those
 * cases. There C = 1 leaves 7e-5 of |ref|, so that a relative error of 1e-4 is still seen.
 */
export const RELATIVE = 2e-6;
/** Results are rounded once to the dtype that travels. */
export const RELATIVE_OF = { f32: RELATIVE, bf16: 3e-3, f16: 5e-4 } as const;
export const EPSILON = 2 ** -23;
export const C = 1;

/** What one result is compared with. Every array has the order of the result. */
export interface Expected {
  readonly reference: Float64Array;
  /** B, for every element. */
  readonly magnitude: Float64Array;
  readonly heads: number;
  /** Which head, of all heads of all samples, an element belongs to. */
  readonly headOf: (index: number) => number;
}

export interface Deviation {
  /** |x - ref| divided by its bound; over 1 is a wrong result. */
  readonly ratio: number;
  readonly head: number;
}

/** The head that comes closest to its bound, or breaks it most. Each head answers for itself: a wrong one cannot hide. */
export function largestDeviation(
  actual: ArrayLike<number>,
  expected: Expected,
  relative: number = RELATIVE,
): Deviation {
  const { reference, magnitude, heads, headOf } = expected;
  if (actual.length !== reference.length) {
    throw new Error(`result has ${actual.length} elements, expected ${reference.length}`);
  }
  const error = new Float64Array(heads);
  const size = new Float64Array(heads);
  const terms = new Float64Array(heads);
  for (let i = 0; i < reference.length; i++) {
    const head = headOf(i);
    const want = reference[i]!;
    const got = actual[i]!;
    // The LSE of a row that sees nothing is -Infinity, exactly.
    if (got === want) {
      if (Number.isFinite(want)) size[head]! += want * want;
    } else {
      error[head]! += Number.isFinite(got - want) ? (got - want) ** 2 : Infinity;
      size[head]! += want * want;
    }
    terms[head]! += magnitude[i]! ** 2;
  }
  let worst: Deviation = { ratio: 0, head: -1 };
  for (let head = 0; head < heads; head++) {
    const bound = relative * Math.sqrt(size[head]!) + C * EPSILON * Math.sqrt(terms[head]!);
    const ratio =
      error[head] === 0 ? 0 : error[head] === Infinity ? Infinity : Math.sqrt(error[head]!) / bound;
    if (ratio > worst.ratio) worst = { ratio, head };
  }
  return worst;
}
