import { fieldError } from '@ulysses/errors';
import { Region } from '@ulysses/native';
import {
  elementBytes,
  elementCount,
  parseDType,
  parseLayout,
  type DType,
  type Extents,
} from '@ulysses/tensor';

/**
 * A dense row-major tensor: float32 in a Float32Array; bf16 and f16 as their bit patterns in a Uint16Array.
 * `extents.rows` is this owner's share of the sequence.
 */
export interface TensorView {
  readonly data: Float32Array | Uint16Array;
  readonly dtype: DType;
  readonly extents: Extents;
}

/** Refuses a view whose data does not fit its dtype and extents. */
export function checkTensorView(view: TensorView, field: string): void {
  parseDType(view.dtype, `${field}.dtype`);
  parseLayout(view.extents.layout, `${field}.extents.layout`);
  for (const name of ['rows', 'batch', 'heads', 'headSize'] as const) {
    const extent = view.extents[name];
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw fieldError('SHAPE_MISMATCH', `${field}.extents.${name}`, extent, 'a non-negative integer');
    }
  }
  checkData(view, elementCount(view.extents), field, 'extents');
}

/** Refuses data that is not what its dtype and extents say. */
export function checkData(
  { data, dtype }: Pick<TensorView, 'data' | 'dtype'>,
  elements: number,
  field: string,
  extentsField: string,
): void {
  const holds = dtype === 'f32' ? data instanceof Float32Array : data instanceof Uint16Array;
  if (!holds) {
    const expected = dtype === 'f32' ? 'a Float32Array' : 'a Uint16Array of bit patterns';
    throw fieldError('SHAPE_MISMATCH', `${field}.data`, data, expected, { dtype });
  }
  if (data.length !== elements) {
    const expected = `${elements}, as its ${extentsField} say`;
    throw fieldError('SHAPE_MISMATCH', `${field}.data.length`, data.length, expected);
  }
}

/** Refuses a tensor that is not shaped like another one. */
export function requireSameShape(view: TensorView, like: TensorView, field: string, likeField: string): void {
  for (const name of ['layout', 'rows', 'batch', 'heads', 'headSize'] as const) {
    if (view.extents[name] !== like.extents[name]) {
      const expected = `${like.extents[name]}, like ${likeField}`;
      throw fieldError('SHAPE_MISMATCH', `${field}.extents.${name}`, view.extents[name], expected);
    }
  }
  if (view.dtype !== like.dtype) {
    throw fieldError('SHAPE_MISMATCH', `${field}.dtype`, view.dtype, `${like.dtype}, like ${likeField}`);
  }
}

/** A tensor's shape without its elements, to compare and to shape others by. */
export function shapeOf({ dtype, extents }: TensorView): TensorView {
  return { data: new Float32Array(0), dtype, extents };
}

/** A snapshot in native memory: what the caller does to its array afterwards does not reach the step or its replay. */
export function copyToRegion({ data }: Pick<TensorView, 'data'>): Region {
  return Region.copyOf(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

export function allocateLike({ dtype, extents }: TensorView): Region {
  return Region.allocate(elementCount(extents) * elementBytes(dtype));
}

/** A region as a tensor, without a copy: the array keeps the native memory alive. */
export function viewOfRegion(region: Region, { dtype, extents }: TensorView): TensorView {
  return { data: dataOfRegion(region, dtype, elementCount(extents)), dtype, extents };
}

/** The first `length` elements of a region, without a copy. */
export function dataOfRegion(region: Region, dtype: DType, length: number): TensorView['data'] {
  const { buffer, byteOffset } = region.bytes;
  return dtype === 'f32'
    ? new Float32Array(buffer, byteOffset, length)
    : new Uint16Array(buffer, byteOffset, length);
}
