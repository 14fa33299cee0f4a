// Original file: proto/ulysses/v1/coordinator.proto

/**
 * What is kept between forward and backward.
 */
export const Keep = {
  KEEP_UNSPECIFIED: 'KEEP_UNSPECIFIED',
  /**
   * On the ranks: what the KV-cache policy says.
   */
  KEEP_STORE: 'KEEP_STORE',
  /**
   * Nothing, and there is no backward.
   */
  KEEP_NONE: 'KEEP_NONE',
  /**
   * Nothing; backward sends q, k and v again, and ranks compute out and lse again.
   */
  KEEP_RECOMPUTE: 'KEEP_RECOMPUTE',
} as const;

/**
 * What is kept between forward and backward.
 */
export type Keep =
  | 'KEEP_UNSPECIFIED'
  | 0
  /**
   * On the ranks: what the KV-cache policy says.
   */
  | 'KEEP_STORE'
  | 1
  /**
   * Nothing, and there is no backward.
   */
  | 'KEEP_NONE'
  | 2
  /**
   * Nothing; backward sends q, k and v again, and ranks compute out and lse again.
   */
  | 'KEEP_RECOMPUTE'
  | 3

/**
 * What is kept between forward and backward.
 */
export type Keep__Output = typeof Keep[keyof typeof Keep]
