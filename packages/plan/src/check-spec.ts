import { fieldError } from '@ulysses/errors';
import { parseDType, parseLayout } from '@ulysses/tensor';
import { checkMask } from './check-mask.js';
import { requireInteger, requireIntegers } from './require-integer.js';
import { STRATEGIES, type StepSpec } from './spec.js';
import { sumOf } from './split-sizes.js';

/** Largest head size that the kernels take. */
const MAX_HEAD_SIZE = 256;
/** Kernels address rows with int32. */
const MAX_ROWS = 2 ** 31 - 1;

/**
 * @throws SHAPE_MISMATCH for extents, splits, masks and weights that cannot be planned, UNSUPPORTED for words that are
 * not in their table
 */
export function checkSpec(spec: StepSpec, cpSize: number): void {
  requireInteger('cpSize', cpSize, 1);
  parseDType(spec.dtype);
  parseLayout(spec.layout);
  if (!STRATEGIES.includes(spec.strategy)) {
    throw fieldError('UNSUPPORTED', 'strategy', spec.strategy, `one of ${STRATEGIES.join(', ')}`);
  }
  checkExtents(spec);
  const sQ = checkSplits('qSplits', spec.qSplits);
  const sKv = checkSplits('kvSplits', spec.kvSplits);
  if (spec.kvSplits.length !== spec.qSplits.length) {
    const expected = `one entry per sequence owner, ${spec.qSplits.length} like qSplits`;
    throw fieldError('SHAPE_MISMATCH', 'kvSplits', spec.kvSplits, expected);
  }
  if (!Number.isSafeInteger(spec.batch * spec.qHeads * sQ)) {
    const expected = 'batch * qHeads * rows below 2^53';
    throw fieldError('SHAPE_MISMATCH', 'qHeads', spec.qHeads, expected);
  }
  checkMask(spec.mask, { batch: spec.batch, sQ, sKv });
  // Encoders may drop the sign of 0, and the plan id would change on the way.
  if (!Number.isFinite(spec.scale) || Math.fround(spec.scale) !== spec.scale || Object.is(spec.scale, -0)) {
    throw fieldError('SHAPE_MISMATCH', 'scale', spec.scale, 'a finite float32 other than -0');
  }
  checkWeights(spec, cpSize);
}

function checkExtents({ layout, batch, qHeads, kvHeads, headSize }: StepSpec): void {
  requireInteger('batch', batch, 1);
  requireInteger('qHeads', qHeads, 1);
  requireInteger('kvHeads', kvHeads, 1);
  requireInteger('headSize', headSize, 1, MAX_HEAD_SIZE);
  if (qHeads % kvHeads !== 0) {
    throw fieldError('SHAPE_MISMATCH', 'kvHeads', kvHeads, `a divisor of qHeads, which is ${qHeads}`);
  }
  if (layout === 'thd' && batch !== 1) {
    throw fieldError('SHAPE_MISMATCH', 'batch', batch, '1 in layout thd, whose samples lie on the row axis');
  }
}

/** @returns the sum of the splits */
function checkSplits(field: string, splits: readonly number[]): number {
  requireIntegers(field, splits, 0, MAX_ROWS);
  const sum = sumOf(splits);
  if (sum < 1 || sum > MAX_ROWS) {
    throw fieldError('SHAPE_MISMATCH', field, splits, `sizes with a sum of 1 to ${MAX_ROWS}`);
  }
  return sum;
}

function checkWeights({ strategy, weights }: StepSpec, cpSize: number): void {
  if (weights === null) return;
  if (strategy !== 'balanced') {
    throw fieldError(
      'UNSUPPORTED',
      'weights',
      weights,
      `none with strategy ${strategy}; strategy balanced has them`,
    );
  }
  const expected = `${cpSize} non-negative numbers, one per rank, with a sum above 0 and below 2^53`;
  const sum = sumOf(weights);
  if (
    weights.length !== cpSize ||
    weights.some((weight) => !(weight >= 0) || Object.is(weight, -0)) ||
    !(sum > 0 && sum < 2 ** 53)
  ) {
    throw fieldError('SHAPE_MISMATCH', 'weights', weights, expected);
  }
}
