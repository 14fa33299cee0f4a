import { fieldError } from '@ulysses/errors';
import { parseDType, parseLayout } from '@ulysses/tensor';
import { checkMask } from './check-mask.js';
import { requireInteger, requireIntegers } from './require-integer.js';
import { STRATEGIES, type StepSpec } from './spec.js';
import { sumOf } from './split-sizes.js';
import { MAX_HEAD_SIZE, MAX_LANES, MAX_ROWS, unsupported } from './supported.js';

/**
 * @throws SHAPE_MISMATCH for extents, splits, masks and weights that cannot be planned, UNSUPPORTED for words that are
 * not in their table
 */
export function checkSpec(spec: StepSpec, cpSize: number): void {
  requireInteger('cpSize', cpSize, 1);
  parseDType(spec.dtype);
  parseLayout(spec.layout);
  if (!STRATEGIES.includes(spec.strategy)) throw unsupported('strategy', spec.strategy);
  checkExtents(spec);
  const sQ = checkSplits('qSplits', spec.qSplits);
  const sKv = checkSplits('kvSplits', spec.kvSplits);
  if (spec.kvSplits.length !== spec.qSplits.length) {
    const expected = `one entry per sequence owner, ${spec.qSplits.length} like qSplits`;
    throw fieldError('SHAPE_MISMATCH', 'kvSplits', spec.kvSplits, expected);
  }
  checkMask(spec.mask, { batch: spec.batch, sQ, sKv });
  // Encoders may drop the sign of 0, and the plan id would change on the way.
  if (!Number.isFinite(spec.scale) || Math.fround(spec.scale) !== spec.scale || Object.is(spec.scale, -0)) {
    throw unsupported('scale', spec.scale);
  }
  checkWeights(spec, cpSize);
}

function checkExtents({ layout, batch, qHeads, kvHeads, headSize }: StepSpec): void {
  requireInteger('batch', batch, 1);
  requireInteger('qHeads', qHeads, 1);
  if (batch * qHeads > MAX_LANES) throw unsupported('qHeads', qHeads);
  requireInteger('kvHeads', kvHeads, 1);
  if (!Number.isInteger(headSize) || headSize < 1 || headSize > MAX_HEAD_SIZE) {
    throw unsupported('headSize', headSize);
  }
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
    throw unsupported('rows', splits, field);
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
