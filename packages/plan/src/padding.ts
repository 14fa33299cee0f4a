import { fieldError } from '@ulysses/errors';
import type { GatherSizeInput } from './gather-size.js';
import { requireIntegers } from './require-integer.js';
import { sumOf } from './split-sizes.js';

/** Rows that a batch carries as padding, over all samples, and those of them that are not exchanged. */
export interface Padding {
  readonly paddingRows: number;
  readonly paddingRowsNotExchanged: number;
}

/**
 * Padding of one extent. Without attention-mask lengths, every row within the gather size counts as real.
 *
 * @throws SHAPE_MISMATCH for lengths that the shards cannot hold
 */
export function paddingOf(
  {
    shardRows,
    attentionMaskLengths: lengths,
    layout,
  }: Pick<GatherSizeInput, 'shardRows' | 'attentionMaskLengths' | 'layout'>,
  batch: number,
  gatherSize: number,
): Padding {
  const rows = sumOf(shardRows);
  const paddingRowsNotExchanged = batch * (rows - gatherSize);
  if (lengths === null) return { paddingRows: paddingRowsNotExchanged, paddingRowsNotExchanged };
  requireIntegers('attentionMaskLengths', lengths, 0, rows);
  if (layout !== 'thd' && lengths.length !== batch) {
    throw fieldError('SHAPE_MISMATCH', 'attentionMaskLengths', lengths, `one length per sample, ${batch}`);
  }
  const realRows = sumOf(lengths);
  if (realRows > batch * rows) {
    throw fieldError(
      'SHAPE_MISMATCH',
      'attentionMaskLengths',
      lengths,
      `a sum of at most ${batch * rows} rows`,
    );
  }
  return { paddingRows: batch * rows - realRows, paddingRowsNotExchanged };
}
