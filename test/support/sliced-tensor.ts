import type { DenseTensor } from '@ulysses/client';
import type { DType } from '@ulysses/tensor';

/** Every element has bits of its own, as far as the dtype has enough; NaN patterns are among them. */
export function distinctTensor(shape: readonly number[], dtype: DType): DenseTensor {
  const length = shape.reduce((product, extent) => product * extent, 1);
  if (dtype !== 'f32') {
    return { data: new Uint16Array(length).map((_, i) => (i * 40503 + 1) & 0xffff), dtype, shape };
  }
  const bits = new Uint32Array(length).map((_, i) => Math.imul(i, 2654435761) + 1);
  return { data: new Float32Array(bits.buffer), dtype, shape };
}

/**
 * Elements [begin, end) along one dimension, index by index: no runs, no strides of the product's.
 */
export function sliceAlong(tensor: DenseTensor, dim: number, begin: number, end: number): DenseTensor {
  const shape = tensor.shape.map((extent, at) => (at === dim ? end - begin : extent));
  const length = shape.reduce((product, extent) => product * extent, 1);
  const source = bitsOf(tensor);
  const target = source.slice(0, length);
  const index = shape.map(() => 0);
  for (let i = 0; i < length; i++) {
    let from = 0;
    for (let at = 0; at < shape.length; at++) {
      from = from * tensor.shape[at]! + index[at]! + (at === dim ? begin : 0);
    }
    target[i] = source[from]!;
    for (let at = shape.length - 1; at >= 0 && ++index[at]! === shape[at]; at--) index[at] = 0;
  }
  const data = tensor.dtype === 'f32' ? new Float32Array(target.buffer) : (target as Uint16Array);
  return { data, dtype: tensor.dtype, shape };
}

/** Whether two tensors of one shape hold the same bits, NaNs included. */
export function sameBits(a: DenseTensor, b: DenseTensor): boolean {
  const bytes = ({ data }: DenseTensor): Uint8Array =>
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return (
    a.dtype === b.dtype && String(a.shape) === String(b.shape) && Buffer.compare(bytes(a), bytes(b)) === 0
  );
}

/** The elements' bit patterns: NaNs keep theirs. */
function bitsOf({ data }: DenseTensor): Uint32Array | Uint16Array {
  return data instanceof Float32Array ? new Uint32Array(data.buffer, data.byteOffset, data.length) : data;
}

/** [floor(n / p) or one more, the remainder to the first] as begins; one more entry holds n. */
export function evenBegins(n: number, p: number): number[] {
  return Array.from({ length: p + 1 }, (_, i) => Math.floor(n / p) * i + Math.min(i, n % p));
}
