import type { DType } from './dtype.js';

// 16-bit elements as numbers and back, where float32 has a typed array of its own.

const scratch = new DataView(new ArrayBuffer(4));

/** bfloat16 is the upper half of a float32. */
export function bf16ToNumber(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

/** Rounds to nearest, ties to even, by way of float32 as kernels do; NaN stays NaN. */
export function toBf16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** IEEE half: sign, 5 bits of exponent with bias 15, 10 bits of fraction. */
export function f16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Rounds to nearest, ties to even; 65520 and above becomes infinity; NaN stays NaN. */
export function toF16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  // The distance between neighbours: 2^-24 below 2^-14, else 2^-10 of the power of two at or below the value.
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  const steps = roundTiesToEven(size / 2 ** (exponent - 10));
  // Steps of 1024 to 2048 carry the leading one: adding them carries into the exponent field by itself.
  return sign | (((exponent + 14) << 10) + steps);
}

function roundTiesToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

const ENCODE = { bf16: toBf16, f16: toF16 };
const DECODE = { bf16: bf16ToNumber, f16: f16ToNumber };

/** Float32 values rounded to a dtype: themselves, or bit patterns. */
export function encodeElements(values: Float32Array, dtype: DType): Float32Array | Uint16Array {
  return dtype === 'f32' ? values : Uint16Array.from(values, ENCODE[dtype]);
}

/** The inverse, which is exact; float32 comes back as it is. */
export function decodeElements(elements: Float32Array | Uint16Array, dtype: DType): Float32Array {
  if (elements instanceof Float32Array) return elements;
  return dtype === 'f32' ? new Float32Array(elements) : Float32Array.from(elements, DECODE[dtype]);
}
