import { splitRanges, splitSizes, type RowRange } from '@ulysses/plan';

/** Which heads every owner computes, in owner order. */
export interface HeadRouting {
  /** Whole heads, the remainder one each to the lowest owners. */
  readonly qHeads: readonly RowRange[];
  /** The KV heads that these read; owners share some where heads or groups do not divide. */
  readonly kvHeads: readonly RowRange[];
}

/** Query heads [begin, end) of groups of heads / kvHeads read KV heads [floor(begin / group), ceil(end / group)). */
export function routeHeads(heads: number, kvHeads: number, owners: number): HeadRouting {
  const group = heads / kvHeads;
  const qHeads = splitRanges(splitSizes(heads, owners));
  return {
    qHeads,
    kvHeads: qHeads.map(({ begin, end }) => {
      const first = Math.floor(begin / group);
      return { begin: first, end: begin === end ? first : Math.ceil(end / group) };
    }),
  };
}

/** Per query head of one owner, the KV head that it reads, counted from the owner's first. */
export function kvHeadOfQHead(qHeads: RowRange, kvHeads: RowRange, group: number): number[] {
  return Array.from(
    { length: qHeads.end - qHeads.begin },
    (_, head) => Math.floor((qHeads.begin + head) / group) - kvHeads.begin,
  );
}
