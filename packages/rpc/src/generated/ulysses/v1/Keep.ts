// Original file: proto/ulysses/v1/coordinator.proto

/**
 * What ranks keep between forward and backward.
 */
export const Keep = {
  KEEP_UNSPECIFIED: 'KEEP_UNSPECIFIED',
  KEEP_STORE: 'KEEP_STORE',
  KEEP_NONE: 'KEEP_NONE',
} as const;

/**
 * What ranks keep between forward and backward.
 */
export type Keep =
  | 'KEEP_UNSPECIFIED'
  | 0
  | 'KEEP_STORE'
  | 1
  | 'KEEP_NONE'
  | 2

/**
 * What ranks keep between forward and backward.
 */
export type Keep__Output = typeof Keep[keyof typeof Keep]
