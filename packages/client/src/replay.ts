import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { delay } from '@ulysses/runtime';
import type { Cluster, ResolvedConnectOptions } from './cluster.js';

export interface ReplayOptions {
  readonly deadlineMs: number;
  readonly signal: AbortSignal | null;
}

/** What a replay needs to know of a connection. */
export interface ReplayingCluster extends Pick<Cluster, 'contacted' | 'coordinator' | 'failOver'> {
  readonly options: Pick<ResolvedConnectOptions, 'maxReplays' | 'firstContactMs' | 'onReplay'>;
}

/** What one attempt is given: the attempt number to ask for, what is left of the deadline, and a signal. */
export interface AttemptContext {
  readonly attempt: number;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 500;

/**
 * Runs `attempt` until it succeeds, fails with an error that repeating cannot help, or the deadline passes.
 * Inputs must still be what they were: a replayed step computes the same bits.
 */
export async function withReplay<T>(
  cluster: ReplayingCluster,
  { deadlineMs, signal }: ReplayOptions,
  firstAttempt: number,
  attempt: (context: AttemptContext) => Promise<T>,
): Promise<T> {
  const startedAt = performance.now();
  const never = new AbortController().signal;
  for (let replays = 0; ; replays++) {
    const { coordinator } = cluster;
    const leftMs = Math.ceil(deadlineMs - (performance.now() - startedAt));
    try {
      if (leftMs <= 0) throw tookTooLong(deadlineMs, performance.now() - startedAt);
      signal?.throwIfAborted();
      return await attempt({ attempt: firstAttempt + replays, deadlineMs: leftMs, signal: signal ?? never });
    } catch (thrown) {
      if (signal?.aborted === true)
        throw new UlyssesError('CANCELLED', 'the call was cancelled', {}, signal.reason);
      const error = toUlyssesError(thrown);
      if (!error.retryable || replays >= cluster.options.maxReplays) throw error;
      if (neverReached(cluster, error) && performance.now() - startedAt > cluster.options.firstContactMs)
        throw error;
      cluster.failOver(coordinator, error);
      cluster.options.onReplay(error, firstAttempt + replays + 1);
      const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** replays, LONGEST_PAUSE_MS) * (0.5 + Math.random());
      if (performance.now() - startedAt + pauseMs > deadlineMs) throw error;
      await delay(pauseMs, signal ?? never).catch(() => undefined);
    }
  }
}

function tookTooLong(deadlineMs: number, ms: number): UlyssesError {
  return new UlyssesError('DEADLINE', `the call took longer than ${deadlineMs} ms`, {
    field: 'deadline_ms',
    value: Math.round(ms),
    expected: `at most ${deadlineMs} ms`,
  });
}

/** The transport failed, and always has: a wrong address, or no cluster there. */
function neverReached(cluster: ReplayingCluster, error: UlyssesError): boolean {
  return transportFailed(error) && !cluster.contacted;
}

/** Nobody said so: the connection to the coordinator broke, or there was none. */
export function transportFailed({ code, details }: UlyssesError): boolean {
  return code === 'PEER_LOST' && (details['grpcStatus'] !== undefined || details['address'] !== undefined);
}
