import type { Rows } from '@ulysses/native';
import { bf16ToNumber, f16ToNumber, toBf16, toF16, type DType } from '@ulysses/tensor';

/** The rows of one unit's tensor as numbers: element (row, x), widened to float64 when read, rounded when written. */
export interface Elements {
  get(row: number, x: number): number;
  set(row: number, x: number, value: number): void;
}

export function elementsOf({ region, offsetBytes, rowStride }: Rows, dtype: DType): Elements {
  const { buffer, byteOffset, byteLength } = region.bytes;
  const view = new DataView(buffer, byteOffset, byteLength);
  switch (dtype) {
    case 'f32':
      return {
        get: (row, x) => view.getFloat32(offsetBytes + 4 * (row * rowStride + x), true),
        set: (row, x, value) => view.setFloat32(offsetBytes + 4 * (row * rowStride + x), value, true),
      };
    case 'bf16':
      return {
        get: (row, x) => bf16ToNumber(view.getUint16(offsetBytes + 2 * (row * rowStride + x), true)),
        set: (row, x, value) => view.setUint16(offsetBytes + 2 * (row * rowStride + x), toBf16(value), true),
      };
    case 'f16':
      return {
        get: (row, x) => f16ToNumber(view.getUint16(offsetBytes + 2 * (row * rowStride + x), true)),
        set: (row, x, value) => view.setUint16(offsetBytes + 2 * (row * rowStride + x), toF16(value), true),
      };
  }
}
