/** Monotonic time and timers, so that tests can own both. */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  now(): number;
  /** Calls `action` once, `ms` from now, unless the returned function is called before. */
  schedule(ms: number, action: () => void): () => void;
}

/** The process's own clock. Its timers do not keep the process alive. */
export const monotonicClock: Clock = {
  now: () => performance.now(),
  schedule: (ms, action) => {
    const timer = setTimeout(action, ms);
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
