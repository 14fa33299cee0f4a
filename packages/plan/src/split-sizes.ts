import { fieldError } from '@ulysses/errors';
import type { RowRange } from './spec.js';

/** Cuts `total` into `parts`: floor(total / parts) each, and the remainder goes one each to the lowest indices. */
export function splitSizes(total: number, parts: number): number[] {
  if (!Number.isSafeInteger(total) || total < 0) {
    throw fieldError('SHAPE_MISMATCH', 'total', total, 'a non-negative integer');
  }
  if (!Number.isSafeInteger(parts) || parts < 1) {
    throw fieldError('SHAPE_MISMATCH', 'parts', parts, 'a positive integer');
  }
  const size = Math.floor(total / parts);
  const remainder = total % parts;
  return Array.from({ length: parts }, (_, part) => (part < remainder ? size + 1 : size));
}

/** Rows of every shard that are exchanged: tail rows beyond the gather size are dropped. */
export function clipSplits(shardRows: readonly number[], gatherSize: number): number[] {
  let left = gatherSize;
  return shardRows.map((rows) => {
    const kept = Math.min(rows, left);
    left -= kept;
    return kept;
  });
}

/** Where every split begins on the whole extent; one more entry holds the sum. */
export function splitOffsets(splits: readonly number[]): number[] {
  const offsets = [0];
  let sum = 0;
  for (const rows of splits) offsets.push((sum += rows));
  return offsets;
}

/** Sizes as ranges, one after the other. */
export function splitRanges(sizes: readonly number[]): RowRange[] {
  let end = 0;
  return sizes.map((size) => ({ begin: end, end: (end += size) }));
}

export function sumOf(splits: readonly number[]): number {
  return splits.reduce((sum, rows) => sum + rows, 0);
}
