export type { MembershipStore } from './membership-store.js';
export { EmbeddedStore, type EmbeddedStoreOptions, type LeaseAge } from './embedded-store.js';
export { RedisStore, type RedisStoreOptions } from './redis/redis-store.js';
export { RedisConnection, type RedisConnectionOptions, type RedisTls } from './redis/redis-connection.js';
export { isRedisUrl, maskRedisUrl, parseRedisUrl, type RedisEndpoint } from './redis/redis-url.js';
export { RemoteStore } from './remote-store.js';
export { LeaseKeeper, type LeaseKeeperOptions } from './lease-keeper.js';
export { rendezvousHandlers, watchMembershipHandler } from './serve-store.js';
export { monotonicClock, type Clock } from './clock.js';
