import type { Mask, RowRange } from './spec.js';

/**
 * A mask as one owner knows it. A mask of keys, [s] or [b, s], says which keys are padding, but not how many queries there
 * are in all: then `validRanges.q` is null, and follows once the shards of all owners are known.
 */
export interface OwnerMask extends Omit<Mask, 'validRanges'> {
  readonly validRanges: { readonly q: readonly RowRange[] | null; readonly kv: readonly RowRange[] } | null;
}

/** The mask of `sQ` queries in all. Where there are as many as keys, a row whose key is padding is padding too. */
export function maskOfAll(mask: OwnerMask, sQ: number, asManyAsKeys: boolean): Mask {
  const { validRanges: ranges } = mask;
  if (ranges === null) return { ...mask, validRanges: null };
  const q = asManyAsKeys ? ranges.kv : ranges.kv.map(() => ({ begin: 0, end: sQ }));
  return { ...mask, validRanges: { q: ranges.q ?? q, kv: ranges.kv } };
}
