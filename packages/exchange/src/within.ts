import type { RowRange } from '@ulysses/plan';

/** The part of `rows` that belongs to a segment, counted from the segment's first row; empty when there is none. */
export function within({ begin, end }: RowRange, rows: RowRange): RowRange {
  const from = Math.min(Math.max(rows.begin, begin), end);
  return { begin: from - begin, end: Math.max(from, Math.min(rows.end, end)) - begin };
}
