// Original file: proto/ulysses/v1/tensor.proto

/**
 * Order of dimensions of a shard.
 */
export const Layout = {
  LAYOUT_UNSPECIFIED: 'LAYOUT_UNSPECIFIED',
  LAYOUT_SBHD: 'LAYOUT_SBHD',
  LAYOUT_BSHD: 'LAYOUT_BSHD',
  LAYOUT_THD: 'LAYOUT_THD',
} as const;

/**
 * Order of dimensions of a shard.
 */
export type Layout =
  | 'LAYOUT_UNSPECIFIED'
  | 0
  | 'LAYOUT_SBHD'
  | 1
  | 'LAYOUT_BSHD'
  | 2
  | 'LAYOUT_THD'
  | 3

/**
 * Order of dimensions of a shard.
 */
export type Layout__Output = typeof Layout[keyof typeof Layout]
