import { createHash } from 'node:crypto';
import { UlyssesError, fieldError, invariant } from '@ulysses/errors';
import { elementBytes, parseDType, type DType } from '@ulysses/tensor';
import { boxBytes, placedBox, sentBox } from './exchange-box.js';
import { requireInteger } from './require-integer.js';
import type { RowRange } from './spec.js';

/**
 * An all-to-all alone, resolved: everything that its plan follows from. There are as many owners as ranks.
 *
 * Before, owner i holds `gatherRanges[i]` of the gather dimension and the whole scatter dimension; afterwards it has the
 * whole gather dimension and `scatterRanges[i]` of the scatter dimension. The reverse exchange is the same with the two
 * dimensions swapped. Ranges may overlap: then several owners get the same part, or hold partial sums of it.
 */
export interface ExchangeSpec {
  readonly dtype: DType;
  /** Extents with both dimensions whole, as far as they are exchanged; the tensor is dense and row-major. */
  readonly shape: readonly number[];
  readonly scatterDim: number;
  readonly gatherDim: number;
  readonly scatterRanges: readonly RowRange[];
  readonly gatherRanges: readonly RowRange[];
}

/** All that travels of an exchange's plan. */
export interface ExchangePlan {
  readonly planId: string;
  readonly spec: ExchangeSpec;
}

/** Changes whenever the same spec would mean other bytes in another order. */
const EXCHANGE_VERSION = 1;

/**
 * The plan of an exchange; the same spec gives the same plan everywhere.
 *
 * @throws SHAPE_MISMATCH or UNSUPPORTED when the spec cannot be planned; INVARIANT when the plan's own sums are wrong
 */
export function createExchangePlan(spec: ExchangeSpec): ExchangePlan {
  checkExchangeSpec(spec);
  checkPairs(spec);
  return { planId: exchangePlanId(spec), spec };
}

/**
 * What everyone who is handed a plan does before acting on it.
 *
 * @throws PLAN_INVALID when the spec cannot be planned or the id is not the spec's
 */
export function verifyExchangePlan({ planId, spec }: ExchangePlan): void {
  try {
    checkExchangeSpec(spec);
  } catch (error) {
    if (!(error instanceof UlyssesError)) throw error;
    const message = `the plan's spec is wrong: ${error.message}`;
    throw new UlyssesError('PLAN_INVALID', message, error.details, error);
  }
  const expected = exchangePlanId(spec);
  if (planId !== expected) {
    throw fieldError('PLAN_INVALID', 'planId', planId, `${expected}, the id of its spec`);
  }
}

/** sha256, in lower-case hexadecimal, of lines as `planText` has them: integers decimal, a list after its length. */
function exchangePlanId(spec: ExchangeSpec): string {
  const ranges = (list: readonly RowRange[]): string =>
    [list.length, ...list.map(({ begin, end }) => `${begin} ${end}`)].join(' ');
  const lines = [
    `ulysses_exchange ${EXCHANGE_VERSION}`,
    `dtype ${spec.dtype}`,
    `shape ${[spec.shape.length, ...spec.shape].join(' ')}`,
    `scatter_dim ${spec.scatterDim}`,
    `gather_dim ${spec.gatherDim}`,
    `scatter_ranges ${ranges(spec.scatterRanges)}`,
    `gather_ranges ${ranges(spec.gatherRanges)}`,
  ];
  return createHash('sha256')
    .update(`${lines.join('\n')}\n`, 'latin1')
    .digest('hex');
}

function checkExchangeSpec(spec: ExchangeSpec): void {
  const { dtype, shape, scatterDim, gatherDim } = spec;
  parseDType(dtype);
  if (shape.length < 2) throw fieldError('SHAPE_MISMATCH', 'shape', shape, 'at least 2 dimensions');
  shape.forEach((extent, dim) => {
    requireInteger(`shape[${dim}]`, extent, 0);
  });
  const bytes = shape.reduce((product, extent) => product * extent, elementBytes(dtype));
  if (!Number.isSafeInteger(bytes)) throw fieldError('SHAPE_MISMATCH', 'shape', shape, 'below 2^53 bytes');
  requireInteger('scatterDim', scatterDim, 0, shape.length - 1);
  requireInteger('gatherDim', gatherDim, 0, shape.length - 1);
  if (scatterDim === gatherDim) {
    throw fieldError('SHAPE_MISMATCH', 'scatterDim', scatterDim, 'another dimension than gatherDim');
  }
  checkRanges('gatherRanges', spec.gatherRanges, shape[gatherDim]!);
  checkRanges('scatterRanges', spec.scatterRanges, shape[scatterDim]!);
  if (spec.scatterRanges.length !== spec.gatherRanges.length || spec.gatherRanges.length === 0) {
    const expected = `one range per owner, ${spec.gatherRanges.length} like gatherRanges and at least 1`;
    throw fieldError('SHAPE_MISMATCH', 'scatterRanges', spec.scatterRanges, expected);
  }
}

function checkRanges(field: string, ranges: readonly RowRange[], extent: number): void {
  ranges.forEach(({ begin, end }, owner) => {
    requireInteger(`${field}[${owner}].begin`, begin, 0, extent);
    requireInteger(`${field}[${owner}].end`, end, begin, extent);
  });
}

/** Every pair of owners agrees how many bytes travel, and no box leaves its tensor. */
function checkPairs(spec: ExchangeSpec): void {
  for (let from = 0; from < spec.gatherRanges.length; from++) {
    for (let to = 0; to < spec.scatterRanges.length; to++) {
      const [sent, placed] = [sentBox(spec, from, to), placedBox(spec, from, to)];
      invariant(boxBytes(sent) === boxBytes(placed), 'bytes sent are not the bytes received', { from, to });
      for (const { offsetBytes, rowBytes, rowStrideBytes } of [sent, placed]) {
        invariant(offsetBytes + rowBytes <= rowStrideBytes, 'a box leaves its tensor', { from, to });
      }
    }
  }
}
