import { readFileSync } from 'node:fs';
import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import { fileOption, stringOption, type Logger } from '@ulysses/runtime';
import { RedisConnection } from './redis/redis-connection.js';
import { parseRedisUrl } from './redis/redis-url.js';

const pemOption = (what: string, help: string) =>
  fileOption({
    flag: `redis-${what}`,
    env: `ULYSSES_REDIS_${what.toUpperCase()}`,
    default: null,
    help,
  });

/** Settings of every process that may use Redis, beside the URL itself. */
export const REDIS_OPTIONS = {
  cluster: stringOption({
    flag: 'cluster',
    env: 'ULYSSES_CLUSTER',
    valueName: 'NAME',
    default: 'default',
    help: 'Name of the cluster; clusters of other names in the same Redis are never met.',
  }),
  redisCa: pemOption('ca', 'For rediss://, authorities to trust (PEM); none: those of the system.'),
  redisCert: pemOption('cert', 'For rediss://, certificate to show to Redis (PEM).'),
  redisKey: pemOption('key', 'For rediss://, key of that certificate (PEM).'),
};

export interface RedisSettings {
  readonly redisCa: string | null;
  readonly redisCert: string | null;
  readonly redisKey: string | null;
}

/** Connects as the settings say; CONFIG for a wrong URL or a file that cannot be read. */
export function openRedis(url: string, settings: RedisSettings, logger: Logger): RedisConnection {
  const endpoint = parseRedisUrl(url);
  const tls = {
    ca: pem('redis-ca', settings.redisCa),
    cert: pem('redis-cert', settings.redisCert),
    key: pem('redis-key', settings.redisKey),
  };
  return new RedisConnection({ endpoint, tls, logger });
}

/** CONFIG for a certificate without its key, or the other way. */
export function checkRedisFiles({ redisCert, redisKey }: RedisSettings): void {
  if ((redisCert === null) === (redisKey === null)) return;
  const [missing, given] = redisCert === null ? ['redis-cert', 'redis-key'] : ['redis-key', 'redis-cert'];
  throw fieldError('CONFIG', missing, null, `a path: --${missing} goes with --${given}`);
}

function pem(flag: string, path: string | null): string | null {
  if (path === null) return null;
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new UlyssesError(
      'CONFIG',
      `--${flag} ${path}: ${toUlyssesError(thrown).message}`,
      { field: flag, value: path },
      thrown,
    );
  }
}
