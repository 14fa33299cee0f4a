import type { TensorView } from '@ulysses/client';
import { randomTensor } from './random-tensor.js';

export interface InputShape {
  readonly rows: number;
  readonly batch: number;
  readonly qHeads: number;
  readonly kvHeads: number;
  readonly headSize: number;
}

export interface StepInputs {
  readonly q: TensorView;
  readonly k: TensorView;
  readonly v: TensorView;
  readonly dout: TensorView;
}

/** Random q, k, v and dout [s, b, h, d] in float32; the same seed gives the same values. */
export function stepInputs(shape: InputShape, seed: number): StepInputs {
  const { rows, batch, headSize } = shape;
  const view = (heads: number, salt: number): TensorView => ({
    data: randomTensor(rows * batch * heads * headSize, seed * 4 + salt),
    dtype: 'f32',
    extents: { layout: 'sbhd', rows, batch, heads, headSize },
  });
  return {
    q: view(shape.qHeads, 0),
    k: view(shape.kvHeads, 1),
    v: view(shape.kvHeads, 2),
    dout: view(shape.qHeads, 3),
  };
}

/** Rows [begin, end) of an [s, b, h, d] tensor: one owner's shard. */
export function shardOf({ data, dtype, extents }: TensorView, begin: number, end: number): TensorView {
  const row = extents.batch * extents.heads * extents.headSize;
  return { data: data.slice(begin * row, end * row), dtype, extents: { ...extents, rows: end - begin } };
}
