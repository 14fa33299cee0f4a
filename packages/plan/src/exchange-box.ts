import { elementBytes } from '@ulysses/tensor';
import type { ExchangeSpec } from './exchange-plan.js';
import type { RowRange } from './spec.js';

/**
 * What travels from one owner to another, as bytes of the tensor of whoever holds it: `rows` runs of `rowBytes`,
 * `rowStrideBytes` apart. Both ends go through the same elements in the same row-major order, in runs of their own.
 */
export interface ExchangeBox {
  readonly offsetBytes: number;
  readonly rows: number;
  readonly rowBytes: number;
  readonly rowStrideBytes: number;
}

/** Extents of what an owner holds before the exchange. */
export function inputShape({ shape, gatherDim, gatherRanges }: ExchangeSpec, owner: number): number[] {
  return shape.map((extent, dim) => (dim === gatherDim ? lengthOf(gatherRanges[owner]!) : extent));
}

/** Extents of what an owner has after it. */
export function outputShape({ shape, scatterDim, scatterRanges }: ExchangeSpec, owner: number): number[] {
  return shape.map((extent, dim) => (dim === scatterDim ? lengthOf(scatterRanges[owner]!) : extent));
}

/** What owner `from` sends to owner `to`, in the input of `from`. */
export function sentBox(spec: ExchangeSpec, from: number, to: number): ExchangeBox {
  return cutAlong(inputShape(spec, from), spec.scatterDim, spec.scatterRanges[to]!, elementBytes(spec.dtype));
}

/** The same in the output of `to`. */
export function placedBox(spec: ExchangeSpec, from: number, to: number): ExchangeBox {
  return cutAlong(outputShape(spec, to), spec.gatherDim, spec.gatherRanges[from]!, elementBytes(spec.dtype));
}

export function boxBytes({ rows, rowBytes }: ExchangeBox): number {
  return rows * rowBytes;
}

/** Bytes that an owner sends to the others and gets from them; what it keeps does not travel. */
export function exchangeBytes(spec: ExchangeSpec, owner: number): { sent: number; received: number } {
  let [sent, received] = [0, 0];
  for (let other = 0; other < spec.gatherRanges.length; other++) {
    if (other === owner) continue;
    sent += boxBytes(sentBox(spec, owner, other));
    received += boxBytes(sentBox(spec, other, owner));
  }
  return { sent, received };
}

/** One dimension of a dense tensor narrowed to a range: [a, n, c] -> [a, begin..end, c]. */
export function cutAlong(
  shape: readonly number[],
  dim: number,
  { begin, end }: RowRange,
  bytesPerElement: number,
): ExchangeBox {
  const inner = shape.slice(dim + 1).reduce((product, extent) => product * extent, bytesPerElement);
  return {
    offsetBytes: begin * inner,
    rows: shape.slice(0, dim).reduce((product, extent) => product * extent, 1),
    rowBytes: (end - begin) * inner,
    rowStrideBytes: shape[dim]! * inner,
  };
}

function lengthOf({ begin, end }: RowRange): number {
  return end - begin;
}
