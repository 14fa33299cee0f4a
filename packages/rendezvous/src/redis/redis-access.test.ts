import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UlyssesError, type ErrorCode } from '@ulysses/errors';
import { createLogger } from '@ulysses/runtime';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../../../scripts/start-redis.mjs';
import { RedisConnection, type RedisTls } from './redis-connection.js';
import { RedisStore } from './redis-store.js';
import { parseRedisUrl } from './redis-url.js';

// A certificate authority, and what it signed: one certificate for server and client alike.
const folder = mkdtempSync(join(tmpdir(), 'ulysses-tls-'));
const file = (name: string): string => join(folder, name);
const text = (name: string): string => readFileSync(file(name), 'utf8');
const openssl = (...args: string[]): void => {
  execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
};

/** As docs/operations.md lists them. */
const COMMANDS = ['eval', 'evalsha', 'get', 'set', 'publish', 'subscribe', 'time', 'info', 'select'].map(
  (command) => `+${command}`,
);

let server: RedisProcess;
let tlsServer: RedisProcess;
const opened: RedisConnection[] = [];

beforeAll(async () => {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const authority = ['-x509', '-days', '2', '-subj', '/CN=test authority'];
  openssl('req', ...authority, ...key, '-keyout', 'ca.key', '-out', 'ca.pem');
  const signed = ['-x509', '-days', '2', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-subj', '/CN=redis'];
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=CA:FALSE'];
  openssl('req', ...signed, ...names, ...key, '-keyout', 'redis.key', '-out', 'redis.pem');
  server = await startRedis({
    options: [
      ...['--requirepass', 'general'],
      ...['--user', 'ann', 'on', '>hush', '~ulysses:*', '&ulysses:*', ...COMMANDS],
      ...['--user', 'bob', 'on', '>hush', '~other:*', '+@all'],
    ],
  });
  const files = ['--tls-ca-cert-file', file('ca.pem'), '--tls-cert-file', file('redis.pem')];
  tlsServer = await startRedis({ tls: true, options: [...files, '--tls-key-file', file('redis.key')] });
}, 60_000);
afterAll(async () => {
  await server.stop();
  await tlsServer.stop();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(() => {
  for (const connection of opened.splice(0)) connection.close();
});

const NO_TLS: RedisTls = { ca: null, cert: null, key: null };

/** Runs the scripts through one more connection. */
async function use(url: string, tls = NO_TLS): Promise<number> {
  const logger = createLogger({ name: 'test', level: 'silent' });
  const connection = new RedisConnection({ endpoint: parseRedisUrl(url), tls, logger });
  opened.push(connection);
  const store = new RedisStore({ connection, cluster: 'access' });
  await store.configure({ cpSize: 3, leaseMs: 1000 }, { deadlineMs: 2000 });
  for await (const { cpSize } of store.watch(AbortSignal.timeout(2000))) return cpSize;
  return 0;
}

async function refusal(promise: Promise<unknown>): Promise<ErrorCode> {
  const thrown: unknown = await promise.catch((error: unknown) => error);
  expect(thrown).toBeInstanceOf(UlyssesError);
  return (thrown as UlyssesError).code;
}

describe('a Redis that asks who is there', () => {
  it('admits a password, and a user who may touch the keys and channels of ours', async () => {
    expect(await use(`redis://:general@127.0.0.1:${server.port}`)).toBe(3);
    expect(await use(`redis://ann:hush@127.0.0.1:${server.port}`)).toBe(3);
  });

  it('refuses at once, and as what it is: no password, a wrong one, a user without the right', async () => {
    expect(await refusal(use(`redis://127.0.0.1:${server.port}`))).toBe('UNAUTHENTICATED');
    expect(await refusal(use(`redis://:wrong@127.0.0.1:${server.port}`))).toBe('UNAUTHENTICATED');
    expect(await refusal(use(`redis://ann:wrong@127.0.0.1:${server.port}`))).toBe('UNAUTHENTICATED');
    expect(await refusal(use(`redis://bob:hush@127.0.0.1:${server.port}`))).toBe('FORBIDDEN');
  });
});

describe('a Redis that speaks TLS', () => {
  const url = (): string => `rediss://127.0.0.1:${tlsServer.port}`;

  it('is used when its certificate is signed by the authority given, and shows ours to it', async () => {
    const tls = { ca: text('ca.pem'), cert: text('redis.pem'), key: text('redis.key') };
    expect(await use(url(), tls)).toBe(3);
  });

  it('is not used when nobody vouches for it, nor without the certificate that it asks for', async () => {
    expect(await refusal(use(url()))).toBe('PEER_LOST');
    expect(await refusal(use(url(), { ...NO_TLS, ca: text('ca.pem') }))).toBe('PEER_LOST');
  });
});
