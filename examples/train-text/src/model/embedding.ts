import type { Tensor } from './tensor.js';

/** What stands before the first byte of a text. */
export const BEGIN_OF_TEXT = 256;
/** The 256 bytes and BEGIN_OF_TEXT. */
export const INPUT_TOKENS = 257;

/** Row i of `x` [s, w] is the table's row of the byte before `text[i]`; table [INPUT_TOKENS, w]. */
export function embed(text: Uint8Array, table: Tensor, x: Tensor): void {
  const width = table.columns;
  for (let row = 0; row < text.length; row++) {
    const begin = tokenBefore(text, row) * width;
    x.data.set(table.data.subarray(begin, begin + width), row * width);
  }
}

/** Adds the rows of `dx` [s, w] to the table rows they came from. */
export function embedBackward(text: Uint8Array, dx: Tensor, dTable: Tensor): void {
  const width = dx.columns;
  const [from, to] = [dx.data, dTable.data];
  for (let row = 0; row < text.length; row++) {
    const target = tokenBefore(text, row) * width;
    for (let i = 0; i < width; i++) to[target + i]! += from[row * width + i]!;
  }
}

function tokenBefore(text: Uint8Array, row: number): number {
  return row === 0 ? BEGIN_OF_TEXT : text[row - 1]!;
}
