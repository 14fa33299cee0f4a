import { copyBox } from '@ulysses/exchange';
import { fieldError } from '@ulysses/errors';
import { Region } from '@ulysses/native';
import { cutAlong } from '@ulysses/plan';
import { elementBytes, parseDType, type DType } from '@ulysses/tensor';
import { checkData, dataOfRegion, type TensorView } from './tensor-view.js';

/** A dense row-major tensor of any shape: float32 in a Float32Array; bf16 and f16 as their bit patterns in a Uint16Array. */
export interface DenseTensor {
  readonly data: Float32Array | Uint16Array;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Refuses a tensor whose data does not fit its dtype and shape. */
export function checkDenseTensor(tensor: DenseTensor, field: string): void {
  parseDType(tensor.dtype, `${field}.dtype`);
  if (tensor.shape.length < 2) {
    throw fieldError('SHAPE_MISMATCH', `${field}.shape`, tensor.shape, 'at least 2 dimensions');
  }
  tensor.shape.forEach((extent, dim) => {
    if (Number.isSafeInteger(extent) && extent >= 0) return;
    throw fieldError('SHAPE_MISMATCH', `${field}.shape[${dim}]`, extent, 'a non-negative integer');
  });
  checkData(tensor, elementsOf(tensor.shape), field, 'shape');
}

export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** Hands a region's memory over to a tensor, without a copy. */
export function tensorOfRegion(region: Region, dtype: DType, shape: readonly number[]): DenseTensor {
  const data = dataOfRegion(region, dtype, elementsOf(shape));
  region.free();
  return { data, dtype, shape };
}

/** Another tensor in which a dimension ends earlier, or goes on with zeros. */
export function resizedAlong(
  region: Region,
  { dtype, shape }: Pick<DenseTensor, 'dtype' | 'shape'>,
  dim: number,
  extent: number,
): Region {
  const bytes = elementBytes(dtype);
  const resized = shape.map((before, index) => (index === dim ? extent : before));
  const common = { begin: 0, end: Math.min(extent, shape[dim] ?? 0) };
  const target = Region.allocate(elementsOf(resized) * bytes);
  copyBox(region, cutAlong(shape, dim, common, bytes), target, cutAlong(resized, dim, common, bytes));
  return target;
}

/** The dimensions of an attention tensor: where the sequence is, and where the heads are. */
export function attentionDims({ layout }: TensorView['extents']): { sequence: number; heads: number } {
  switch (layout) {
    case 'sbhd':
      return { sequence: 0, heads: 2 };
    case 'bshd':
      return { sequence: 1, heads: 2 };
    case 'thd':
      return { sequence: 0, heads: 1 };
  }
}

/** [s, b, h, d], [b, s, h, d] or [t, h, d]. */
export function denseOf({ data, dtype, extents }: TensorView): DenseTensor {
  const { layout, rows, batch, heads, headSize } = extents;
  const tail = [heads, headSize];
  const lead = layout === 'sbhd' ? [rows, batch] : layout === 'bshd' ? [batch, rows] : [rows];
  return { data, dtype, shape: [...lead, ...tail] };
}

/** The inverse of `denseOf`, for a tensor of the layout, batch and head size of `like`. */
export function viewOfDense({ data, dtype, shape }: DenseTensor, like: TensorView): TensorView {
  const { sequence, heads } = attentionDims(like.extents);
  return { data, dtype, extents: { ...like.extents, rows: shape[sequence]!, heads: shape[heads]! } };
}
