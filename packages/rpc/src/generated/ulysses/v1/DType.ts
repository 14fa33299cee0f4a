// Original file: proto/ulysses/v1/tensor.proto

/**
 * Element types; little-endian on the wire.
 */
export const DType = {
  D_TYPE_UNSPECIFIED: 'D_TYPE_UNSPECIFIED',
  D_TYPE_F32: 'D_TYPE_F32',
  D_TYPE_BF16: 'D_TYPE_BF16',
  D_TYPE_F16: 'D_TYPE_F16',
} as const;

/**
 * Element types; little-endian on the wire.
 */
export type DType =
  | 'D_TYPE_UNSPECIFIED'
  | 0
  | 'D_TYPE_F32'
  | 1
  | 'D_TYPE_BF16'
  | 2
  | 'D_TYPE_F16'
  | 3

/**
 * Element types; little-endian on the wire.
 */
export type DType__Output = typeof DType[keyof typeof DType]
