import { fieldError } from '@ulysses/errors';

/** Element types that travel: IEEE single, bfloat16, IEEE half. Little-endian on the wire. */
export const DTYPES = ['f32', 'bf16', 'f16'] as const;
export type DType = (typeof DTYPES)[number];

export function elementBytes(dtype: DType): number {
  return dtype === 'f32' ? 4 : 2;
}

export function parseDType(value: unknown, field = 'dtype'): DType {
  const found = DTYPES.find((dtype) => dtype === value);
  if (found === undefined) throw fieldError('UNSUPPORTED', field, value, `one of ${DTYPES.join(', ')}`);
  return found;
}
