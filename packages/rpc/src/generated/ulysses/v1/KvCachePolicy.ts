// Original file: proto/ulysses/v1/coordinator.proto

/**
 * How much of K and V is kept as the owners' shards before the exchange, and not gathered on the ranks. Backward sends
 * again what ranks did not keep.
 */
export const KvCachePolicy = {
  KV_CACHE_POLICY_UNSPECIFIED: 'KV_CACHE_POLICY_UNSPECIFIED',
  KV_CACHE_POLICY_NONE: 'KV_CACHE_POLICY_NONE',
  /**
   * K.
   */
  KV_CACHE_POLICY_HALF: 'KV_CACHE_POLICY_HALF',
  /**
   * K and V.
   */
  KV_CACHE_POLICY_FULL: 'KV_CACHE_POLICY_FULL',
  /**
   * The first of none, half and full that fits the byte budget; only asked for, never resolved to.
   */
  KV_CACHE_POLICY_AUTO: 'KV_CACHE_POLICY_AUTO',
} as const;

/**
 * How much of K and V is kept as the owners' shards before the exchange, and not gathered on the ranks. Backward sends
 * again what ranks did not keep.
 */
export type KvCachePolicy =
  | 'KV_CACHE_POLICY_UNSPECIFIED'
  | 0
  | 'KV_CACHE_POLICY_NONE'
  | 1
  /**
   * K.
   */
  | 'KV_CACHE_POLICY_HALF'
  | 2
  /**
   * K and V.
   */
  | 'KV_CACHE_POLICY_FULL'
  | 3
  /**
   * The first of none, half and full that fits the byte budget; only asked for, never resolved to.
   */
  | 'KV_CACHE_POLICY_AUTO'
  | 4

/**
 * How much of K and V is kept as the owners' shards before the exchange, and not gathered on the ranks. Backward sends
 * again what ranks did not keep.
 */
export type KvCachePolicy__Output = typeof KvCachePolicy[keyof typeof KvCachePolicy]
