import { fieldError } from '@ulysses/errors';

/** Order of dimensions (TransformerEngine `qkv_format`): sequence, batch, heads, head size; THD is packed. */
export const LAYOUTS = ['sbhd', 'bshd', 'thd'] as const;
export type Layout = (typeof LAYOUTS)[number];

export function parseLayout(value: unknown, field = 'layout'): Layout {
  const found = LAYOUTS.find((layout) => layout === value);
  if (found === undefined) throw fieldError('UNSUPPORTED', field, value, `one of ${LAYOUTS.join(', ')}`);
  return found;
}

/** Extents of one dense tensor; `thd` has `batch` 1 and its tokens in `rows`. */
export interface Extents {
  readonly layout: Layout;
  readonly rows: number;
  readonly batch: number;
  readonly heads: number;
  readonly headSize: number;
}

/** Where row `row` of (`batch`, `head`) starts, in elements, and the distance between rows. */
export interface RowStrides {
  readonly row: number;
  readonly batch: number;
  readonly head: number;
}

/** Strides in elements of a dense row-major tensor: [s, b, h, d], [b, s, h, d] or [t, h, d]. */
export function rowStrides({ layout, rows, batch, heads, headSize }: Extents): RowStrides {
  switch (layout) {
    case 'sbhd':
      return { row: batch * heads * headSize, batch: heads * headSize, head: headSize };
    case 'bshd':
      return { row: heads * headSize, batch: rows * heads * headSize, head: headSize };
    case 'thd':
      return { row: heads * headSize, batch: 0, head: headSize };
  }
}

export function elementCount({ rows, batch, heads, headSize }: Extents): number {
  return rows * batch * heads * headSize;
}
