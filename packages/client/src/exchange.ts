import { describe, fieldError } from '@ulysses/errors';
import type { StepKey } from '@ulysses/native';
import { outputShape, splitRanges, type ExchangePlan, type RowRange } from '@ulysses/plan';
import type { ExchangeView } from '@ulysses/rpc';
import type { DType } from '@ulysses/tensor';
import type { Cluster } from './cluster.js';
import { checkDenseTensor, type DenseTensor } from './dense-tensor.js';
import { exchangePass, type ExchangeOutcome } from './exchange-pass.js';

export interface ExchangeOptions {
  /** The dimension that is whole now and cut over the owners afterwards. */
  readonly scatterDim: number;
  /** The dimension that is cut over the owners now and whole afterwards. */
  readonly gatherDim: number;
  /**
   * Extent of the gather dimension afterwards; what shards hold beyond it is padding and not exchanged. null: an aligned
   * exchange, which refuses shards of different extents and a scatter dimension that does not divide. @default all there is
   */
  readonly gatherSize?: number | null;
  /** What every owner gets of the scatter dimension. @default equal parts, the remainder one each to the lowest owners */
  readonly scatterSplits?: readonly number[];
  readonly signal?: AbortSignal;
  readonly deadlineMs?: number;
}

export type ReverseOptions = Pick<ExchangeOptions, 'signal' | 'deadlineMs'>;

export interface ExchangeReport {
  readonly gatherSize: number;
  /** What every owner holds of the gather dimension before, without padding; and of the scatter dimension afterwards. */
  readonly gatherSplits: readonly number[];
  readonly scatterSplits: readonly number[];
  readonly epoch: number;
  readonly attempt: number;
  /** Payload bytes that this owner sent and got; what it keeps to itself does not travel. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

export interface ExchangeResult {
  readonly tensor: DenseTensor;
  readonly report: ExchangeReport;
  /**
   * The reverse exchange of a tensor shaped like `tensor` (its dtype may be another): the two dimensions change places.
   * Rows that were not exchanged come back as zeros. All owners call it, like any exchange.
   */
  readonly reverse: (tensor: DenseTensor, options?: ReverseOptions) => Promise<ExchangeResult>;
}

/**
 * The all-to-all alone, of this owner's shard of a dense tensor of any shape. There is one owner per rank; all call it with
 * the same options.
 *
 * @throws SHAPE_MISMATCH, STEP_MISMATCH for calls that cannot work; PEER_LOST and the like when replays are used up;
 *   DEADLINE; CANCELLED
 */
export async function exchange(
  cluster: Cluster,
  tensor: DenseTensor,
  options: ExchangeOptions,
): Promise<ExchangeResult> {
  // Numbered before anything can be refused: calls are numbered as they are made, on every owner.
  const step = cluster.nextStep();
  checkDenseTensor(tensor, 'tensor');
  const { scatterDim, gatherDim, gatherSize, scatterSplits } = options;
  const { ownerCount } = cluster.options;
  requireDim('scatterDim', scatterDim, tensor);
  requireDim('gatherDim', gatherDim, tensor);
  if (scatterDim === gatherDim) {
    throw fieldError('SHAPE_MISMATCH', 'scatterDim', scatterDim, 'another dimension than gatherDim');
  }
  if (typeof gatherSize === 'number' && !(Number.isSafeInteger(gatherSize) && gatherSize >= 1)) {
    throw fieldError('SHAPE_MISMATCH', 'gatherSize', gatherSize, 'null or a positive integer');
  }
  if (scatterSplits !== undefined) {
    checkScatterSplits(scatterSplits, tensor.shape[scatterDim]!, ownerCount);
  }
  const view: ExchangeView = {
    dtype: tensor.dtype,
    shape: [...tensor.shape],
    scatterDim,
    gatherDim,
    gatherSize: gatherSize ?? null,
    aligned: gatherSize === null,
    scatterRanges: scatterSplits === undefined ? null : splitRanges(scatterSplits),
    gatherRanges: null,
    purpose: null,
    failure: null,
  };
  return await exchangeTensor(cluster, step, tensor, view, null, options);
}

async function exchangeTensor(
  cluster: Cluster,
  step: StepKey,
  tensor: DenseTensor,
  view: ExchangeView,
  resultExtent: number | null,
  call: ReverseOptions,
): Promise<ExchangeResult> {
  const outcome = await exchangePass(
    cluster,
    { step, view, tensor, resultExtent, foldTo: null },
    { signal: call.signal ?? null, deadlineMs: call.deadlineMs ?? cluster.options.deadlineMs },
  );
  const { plan, result } = outcome;
  const owner = cluster.options.ownerIndex;
  return {
    tensor: result,
    report: exchangeReport(outcome),
    reverse: async (changed, options = {}) => {
      const next = cluster.nextStep();
      checkDenseTensor(changed, 'tensor');
      if (String(changed.shape) !== String(result.shape)) {
        const expected = `${describe(result.shape)}, like the result that is reversed`;
        throw fieldError('SHAPE_MISMATCH', 'tensor.shape', changed.shape, expected);
      }
      const back = reverseView(plan, owner, changed.dtype);
      return await exchangeTensor(cluster, next, changed, back, tensor.shape[view.gatherDim]!, options);
    },
  };
}

/** Swaps the dimensions of a plan, for what an owner has of its results. */
export function reverseView(
  { spec }: ExchangePlan,
  owner: number,
  dtype: DType,
  purpose: string | null = null,
): ExchangeView {
  return {
    dtype,
    shape: outputShape(spec, owner),
    scatterDim: spec.gatherDim,
    gatherDim: spec.scatterDim,
    gatherSize: spec.shape[spec.scatterDim]!,
    aligned: false,
    scatterRanges: spec.gatherRanges,
    gatherRanges: spec.scatterRanges,
    purpose,
    failure: null,
  };
}

function exchangeReport({ plan, planned, bytesSent, bytesReceived }: ExchangeOutcome): ExchangeReport {
  const { spec } = plan;
  const sizes = (ranges: readonly RowRange[]): number[] => ranges.map(({ begin, end }) => end - begin);
  return {
    gatherSize: spec.shape[spec.gatherDim]!,
    gatherSplits: sizes(spec.gatherRanges),
    scatterSplits: sizes(spec.scatterRanges),
    epoch: planned.epoch,
    attempt: planned.attempt,
    bytesSent,
    bytesReceived,
  };
}

function requireDim(field: string, dim: number, { shape }: DenseTensor): void {
  if (Number.isSafeInteger(dim) && dim >= 0 && dim < shape.length) return;
  throw fieldError('SHAPE_MISMATCH', field, dim, `an integer from 0 to ${shape.length - 1}`);
}

function checkScatterSplits(splits: readonly number[], extent: number, owners: number): void {
  const whole = splits.every((size) => Number.isSafeInteger(size) && size >= 0);
  const sum = splits.reduce((total, size) => total + size, 0);
  if (whole && splits.length === owners && sum === extent) return;
  const expected = `${owners} non-negative integers, one per owner, with the sum ${extent}`;
  throw fieldError('SHAPE_MISMATCH', 'scatterSplits', splits, expected);
}
