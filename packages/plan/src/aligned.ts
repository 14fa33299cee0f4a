import { fieldError } from '@ulysses/errors';
import type { StepSpec, Strategy } from './spec.js';
import { sumOf } from './split-sizes.js';

const REMEDY = 'use DynamicGatherSizeCalculator for an unaligned one';

/**
 * What a gather size of null demands: equal shards, and query heads that divide by cp_size.
 *
 * @throws SHAPE_MISMATCH that says what to do instead
 */
export function requireAligned(
  { qSplits, kvSplits, qHeads }: Pick<StepSpec, 'qSplits' | 'kvSplits' | 'qHeads'>,
  cpSize: number,
  remedy: string = REMEDY,
): void {
  const where = `in an aligned exchange; ${remedy}`;
  requireEqual('qSplits', qSplits, where);
  requireEqual('kvSplits', kvSplits, where);
  if (qHeads % cpSize !== 0) {
    throw fieldError('SHAPE_MISMATCH', 'qHeads', qHeads, `a multiple of cp_size ${cpSize} ${where}`);
  }
}

function requireEqual(field: string, splits: readonly number[], where: string): void {
  if (splits.some((rows) => rows !== splits[0])) {
    throw fieldError('SHAPE_MISMATCH', field, splits, `shards of equal size ${where}`);
  }
}

/** The values of cp_size above 1 at which an exchange of these whole extents is aligned, ascending. */
export function alignedSizes({
  qSplits,
  kvSplits,
  qHeads,
}: Pick<StepSpec, 'qSplits' | 'kvSplits' | 'qHeads'>): number[] {
  const [sQ, sKv] = [sumOf(qSplits), sumOf(kvSplits)];
  const sizes: number[] = [];
  for (let size = 2; size <= qHeads; size++) {
    if (qHeads % size === 0 && sQ % size === 0 && sKv % size === 0) sizes.push(size);
  }
  return sizes;
}

/** How work is cut when nobody says: whole heads where they divide, balanced otherwise. */
export function defaultStrategy(qHeads: number, cpSize: number): Strategy {
  return qHeads % cpSize === 0 ? 'heads' : 'balanced';
}
