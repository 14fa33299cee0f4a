import { matmul, type Matrix } from '@ulysses/native';
import type { Tensor } from './tensor.js';

/** The matrix products of a linear layer y = x·w, computed by the native core. Shapes: x [s, in], w [in, out], y [s, out]. */
export interface Products {
  /** y = x·w, or y += x·w. */
  forward(x: Tensor, w: Tensor, y: Tensor, mode?: Mode): Promise<void>;
  /** dx = dy·wᵀ, or dx += dy·wᵀ. */
  backwardInput(dy: Tensor, w: Tensor, dx: Tensor, mode?: Mode): Promise<void>;
  /** dw = xᵀ·dy. */
  backwardWeight(x: Tensor, dy: Tensor, dw: Tensor): Promise<void>;
}

export type Mode = 'overwrite' | 'add';

export function createProducts(threads: number): Products {
  return {
    forward: (x, w, y, mode = 'overwrite') =>
      matmul({
        m: x.rows,
        n: w.columns,
        k: w.rows,
        a: matrix(x),
        b: matrix(w),
        c: matrix(y),
        accumulate: mode === 'add',
        threads,
      }),
    backwardInput: (dy, w, dx, mode = 'overwrite') =>
      matmul({
        m: dy.rows,
        n: w.rows,
        k: w.columns,
        a: matrix(dy),
        b: transposed(w),
        c: matrix(dx),
        accumulate: mode === 'add',
        threads,
      }),
    backwardWeight: (x, dy, dw) =>
      matmul({
        m: x.columns,
        n: dy.columns,
        k: x.rows,
        a: transposed(x),
        b: matrix(dy),
        c: matrix(dw),
        accumulate: false,
        threads,
      }),
  };
}

function matrix({ region, columns }: Tensor): Matrix {
  return { region, offsetBytes: 0, rowStride: columns, transposed: false };
}

function transposed(tensor: Tensor): Matrix {
  return { ...matrix(tensor), transposed: true };
}
