import { randomUUID } from 'node:crypto';
import { createLogger } from '@ulysses/runtime';
import type { StoreFactory } from '../rendezvous-contract.js';
import { RedisConnection, script } from './redis-connection.js';
import { RedisStore } from './redis-store.js';
import { parseRedisUrl } from './redis-url.js';

const PASS_TIME = script(`
  local state = cjson.decode(redis.call('GET', KEYS[1]))
  local ms = cjson.decode(ARGV[1]).ms
  for _, seat in pairs(state.seats) do seat.untilMs = seat.untilMs - ms end
  if state.recoversUntil then state.recoversUntil = state.recoversUntil - ms end
  redis.call('SET', KEYS[1], cjson.encode(state))
  redis.call('PUBLISH', KEYS[1], 'time passed')
  return '{}'`);

export const membershipKey = (cluster: string): string => `ulysses:{${cluster}}:membership`;

/** For tests. */
export function connectTo(url: string): RedisConnection {
  return new RedisConnection({
    endpoint: parseRedisUrl(url),
    tls: { ca: null, cert: null, key: null },
    logger: createLogger({ name: 'test', level: 'silent' }),
  });
}

/** For tests: time passes by moving the ends of all leases towards now. */
export async function passTime(connection: RedisConnection, cluster: string, ms: number): Promise<void> {
  await connection.run(PASS_TIME, membershipKey(cluster), { ms });
}

/** For tests: fresh clusters in the Redis at `url`, each store with a connection of its own. */
export function redisFactory(url: string): StoreFactory {
  return async ({ cpSize, leaseMs }) => {
    const cluster = randomUUID();
    const connections = [connectTo(url), connectTo(url)] as const;
    const [store, other] = [
      new RedisStore({ connection: connections[0], cluster }),
      new RedisStore({ connection: connections[1], cluster }),
    ];
    await store.configure({ cpSize, leaseMs });
    return {
      store,
      other,
      resolutionMs: leaseMs / 2,
      advance: (ms) => passTime(connections[0], cluster, ms),
      setCpSize: (size) => store.setCpSize(size),
      close: () => {
        store.close();
        other.close();
      },
    };
  };
}
