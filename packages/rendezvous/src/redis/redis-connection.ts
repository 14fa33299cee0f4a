import { createHash } from 'node:crypto';
import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { Deferred, deadlineSignal, orAborted, type Logger } from '@ulysses/runtime';
import type { CallOptions } from '@ulysses/rpc';
import { Redis, type RedisOptions } from 'ioredis';
import { fromRedisError, isRefusal } from './redis-error.js';
import type { RedisEndpoint } from './redis-url.js';

/** PEM texts; a null `ca` means the system's. */
export interface RedisTls {
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

export interface RedisConnectionOptions {
  readonly endpoint: RedisEndpoint;
  readonly tls: RedisTls;
  readonly logger: Logger;
}

/** A Lua script and the name under which Redis caches it. */
export interface Script {
  readonly text: string;
  readonly sha1: string;
}

export function script(text: string): Script {
  return { text, sha1: createHash('sha1').update(text).digest('hex') };
}

/** Longest that a call takes when its caller says nothing. */
const CALL_MS = 5000;
const CONNECT_MS = 2000;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 500;

/**
 * One connection to Redis, made again whenever it is lost, through Sentinel if there is one.
 *
 * C1: every call has a deadline, waiting for the connection included.
 * C2: a call is sent at most once: nothing waits in a queue to take effect after its caller gave up.
 * C3: a server that answers nothing is given up with the first call that it leaves unanswered, so that the next call
 *     finds the new master.
 */
export class RedisConnection {
  /** For messages: hosts without credentials. */
  readonly where: string;
  readonly #redis: Redis;
  /** Settles when the connection is up, or when it never will be; made anew when it is lost. */
  #ready = new Deferred();
  #up = false;
  #lastError: UlyssesError | null = null;

  constructor({ endpoint, tls, logger }: RedisConnectionOptions) {
    const hosts = endpoint.hosts.map(({ host, port }) => `${host}:${port}`).join(',');
    this.where = endpoint.master === null ? hosts : `${hosts} (${endpoint.master})`;
    this.#redis = new Redis(clientOptions(endpoint, tls));
    this.#redis.on('ready', () => {
      this.#lastError = null;
      this.#up = true;
      this.#ready.resolve();
      logger.info({ peer: `redis ${this.where}` }, 'redis connected');
    });
    this.#redis.on('close', () => {
      if (this.#up) logger.warn({ peer: `redis ${this.where}` }, 'redis lost');
      this.#down();
    });
    this.#redis.on('error', (error: Error) => {
      this.#lastError = fromRedisError(error, this.where);
      if (isRefusal(this.#lastError)) this.#giveUp(this.#lastError);
    });
  }

  /** Runs a script on one key and one JSON argument; its reply is JSON too. */
  async run(script: Script, key: string, argument: unknown, options: CallOptions = {}): Promise<unknown> {
    const limitMs = options.deadlineMs ?? CALL_MS;
    const deadline = deadlineSignal(limitMs, options.signal);
    try {
      await this.#ready.orAborted(deadline.signal);
      const text = JSON.stringify(argument);
      const reply = await orAborted(this.#evaluate(script, key, text), deadline.signal);
      return JSON.parse(String(reply)) as unknown;
    } catch (thrown) {
      if (options.signal?.aborted === true) throw toUlyssesError(options.signal.reason);
      if (!deadline.signal.aborted) throw fromRedisError(thrown, this.where);
      throw this.#unanswered(limitMs);
    } finally {
      deadline.release();
    }
  }

  /** Hears of every message on a channel, and of every time that messages may have been missed. */
  subscribe(channel: string, onMessage: () => void): () => void {
    const subscriber = this.#redis.duplicate({ autoResubscribe: false });
    subscriber.on('error', () => undefined);
    subscriber.on('message', onMessage);
    subscriber.on('ready', () => {
      subscriber.subscribe(channel).then(onMessage, () => undefined);
    });
    return () => {
      subscriber.disconnect();
    };
  }

  close(): void {
    this.#giveUp(new UlyssesError('CANCELLED', 'the connection to Redis is closed'));
    this.#redis.disconnect();
  }

  #down(): void {
    if (this.#up) this.#ready = new Deferred();
    this.#up = false;
  }

  /** Fails those who wait for a connection; the next call tries again. */
  #giveUp(error: UlyssesError): void {
    if (this.#up) return;
    this.#ready.reject(error);
    this.#ready = new Deferred();
  }

  async #evaluate({ sha1, text }: Script, key: string, argument: string): Promise<unknown> {
    try {
      return await this.#redis.evalsha(sha1, 1, key, argument);
    } catch (thrown) {
      if (!(thrown instanceof Error) || !thrown.message.startsWith('NOSCRIPT')) throw thrown;
      return await this.#redis.eval(text, 1, key, argument);
    }
  }

  #unanswered(limitMs: number): UlyssesError {
    if (!this.#up) {
      const last = this.#lastError?.message ?? `Redis at ${this.where} cannot be reached`;
      const details = { peer: `redis ${this.where}` };
      return new UlyssesError('PEER_LOST', `${last}; waited ${limitMs} ms`, details, this.#lastError);
    }
    this.#down();
    this.#redis.disconnect(true);
    return new UlyssesError('DEADLINE', `Redis at ${this.where} did not answer within ${limitMs} ms`, {
      peer: `redis ${this.where}`,
      ms: limitMs,
    });
  }
}

function clientOptions(
  { hosts, master, tls, username, password, db }: RedisEndpoint,
  pem: RedisTls,
): RedisOptions {
  const [first] = hosts;
  const secure = tls
    ? { tls: Object.fromEntries(Object.entries(pem).filter(([, text]) => text !== null)) }
    : {};
  const place =
    master === null
      ? { host: first?.host, port: first?.port, ...secure }
      : {
          sentinels: [...hosts],
          name: master,
          sentinelCommandTimeout: CONNECT_MS,
          sentinelRetryStrategy: pause,
          enableTLSForSentinelMode: tls,
          ...(tls ? { ...secure, sentinelTLS: secure.tls } : {}),
        };
  return {
    ...place,
    ...(username === null ? {} : { username }),
    ...(password === null ? {} : { password }),
    db,
    protocol: 2,
    connectTimeout: CONNECT_MS,
    retryStrategy: pause,
    // A failed-over connection may still reach the old master, which is a replica now.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    // C2: nothing is kept for later, nothing is sent twice.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    disableClientInfo: true,
  };
}

function pause(attempt: number): number {
  return Math.min(FIRST_RETRY_MS * attempt, LONGEST_RETRY_MS);
}
