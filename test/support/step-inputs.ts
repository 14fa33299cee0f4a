import type { TensorView } from '@ulysses/client';
import { randomTensor } from './random-tensor.js';

export interface InputShape {
  readonly rows: number;
  /** Rows of k and v. @default those of q */
  readonly keys?: number;
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

/** Random q, dout [s_q, b, h, d] and k, v [s_kv, b, h_kv, d] in float32; the same seed gives the same values. */
export function stepInputs(shape: InputShape, seed: number): StepInputs {
  const { rows, keys = rows, batch, headSize } = shape;
  const view = (length: number, heads: number, salt: number): TensorView => ({
    data: randomTensor(length * batch * heads * headSize, seed * 4 + salt),
    dtype: 'f32',
    extents: { layout: 'sbhd', rows: length, batch, heads, headSize },
  });
  return {
    q: view(rows, shape.qHeads, 0),
    k: view(keys, shape.kvHeads, 1),
    v: view(keys, shape.kvHeads, 2),
    dout: view(rows, shape.qHeads, 3),
  };
}

/** Rows [begin, end) of an [s, b, h, d] tensor: one owner's shard. */
export function shardOf({ data, dtype, extents }: TensorView, begin: number, end: number): TensorView {
  const row = extents.batch * extents.heads * extents.headSize;
  return { data: data.slice(begin * row, end * row), dtype, extents: { ...extents, rows: end - begin } };
}
