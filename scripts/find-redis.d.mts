export interface RedisPrograms {
  /** The folder with redis-server and redis-cli. */
  readonly programs: string;
  /** For LD_LIBRARY_PATH; null: the system's. */
  readonly libraries: string | null;
}

/** Throws when they are neither on PATH nor can be fetched. */
export function findRedis(): RedisPrograms;
