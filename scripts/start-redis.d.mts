export interface RedisProcess {
  readonly port: number;
  /** Of the server itself, for signals. */
  readonly pid: number;
  /** SIGKILL; resolves when it is gone, with everything that it held. */
  stop(): Promise<void>;
}

export interface StartRedisOptions {
  /** Absent: a free one. */
  readonly port?: number;
  /** Text of a Sentinel's configuration; absent: a Redis. */
  readonly sentinel?: string;
  /** The port speaks TLS, and nothing else does. */
  readonly tls?: boolean;
  /** More options of redis-server, as on its command line. */
  readonly options?: readonly string[];
}

export function startRedis(options?: StartRedisOptions): Promise<RedisProcess>;
