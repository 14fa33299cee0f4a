import { Region } from '@ulysses/native';

/** A row-major float32 matrix [rows, columns] at the start of its own native region. */
export interface Tensor {
  readonly region: Region;
  /** The same memory, seen from JavaScript; rows * columns values. */
  readonly data: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** A tensor of zeros. */
export function allocate(rows: number, columns: number): Tensor {
  const region = Region.allocate(rows * columns * Float32Array.BYTES_PER_ELEMENT);
  return { region, data: region.float32().subarray(0, rows * columns), rows, columns };
}

/** The first `rows` rows of `tensor`, sharing its memory: buffers are allocated once, for the longest text. */
export function firstRows(tensor: Tensor, rows: number): Tensor {
  return { ...tensor, data: tensor.data.subarray(0, rows * tensor.columns), rows };
}
