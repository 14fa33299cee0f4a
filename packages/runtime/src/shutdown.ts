import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { deadlineSignal, orAborted } from './deadline.js';
import type { Logger } from './logger.js';

/** What one part does when the process ends; `signal` aborts when the time for all of them is up. */
export type Closer = (signal: AbortSignal) => Promise<void> | void;

/** The part of `process` that is used here. */
export interface HostProcess {
  on(event: 'SIGTERM' | 'SIGINT', listener: () => void): unknown;
  off(event: 'SIGTERM' | 'SIGINT', listener: () => void): unknown;
  exit(code: number): void;
}

export interface ShutdownOptions {
  readonly logger: Logger;
  /** Time for all closers together. */
  readonly deadlineMs: number;
  /** Default: this process. */
  readonly host?: HostProcess;
}

export interface Shutdown {
  /** Aborts when the shutdown begins, with CANCELLED. */
  readonly signal: AbortSignal;
  /** Registers a part. The last one registered is closed first: what was started on top of others ends before them. */
  onShutdown(name: string, close: Closer): void;
  /** Closes everything and exits with `exitCode`; later calls join the first. */
  begin(reason: string, exitCode?: number): Promise<void>;
}

/**
 * Ends the process in order on SIGTERM or SIGINT; a second signal exits at once.
 *
 * S1: a closer that throws or hangs does not keep the others from being closed.
 * S2: the exit code is the caller's if everything closed in time, else 1.
 */
export function handleShutdown({ logger, deadlineMs, host = process }: ShutdownOptions): Shutdown {
  const closers: { readonly name: string; readonly close: Closer }[] = [];
  const controller = new AbortController();
  let running: Promise<void> | null = null;

  const closeAll = async (exitCode: number): Promise<void> => {
    const deadline = deadlineSignal(deadlineMs);
    let failed = false;
    for (const { name, close } of closers.toReversed()) {
      try {
        await orAborted(Promise.resolve(close(deadline.signal)), deadline.signal);
      } catch (thrown) {
        failed = true;
        const { code, message } = toUlyssesError(thrown);
        logger.error({ phase: name, code, reason: message }, 'shutdown step failed');
      }
    }
    deadline.release();
    host.off('SIGTERM', onSigterm);
    host.off('SIGINT', onSigint);
    host.exit(failed ? 1 : exitCode);
  };

  const begin = (reason: string, exitCode = 0): Promise<void> => {
    if (running === null) {
      logger.info({ reason }, 'shutting down');
      controller.abort(new UlyssesError('CANCELLED', `this process is shutting down: ${reason}`));
      running = closeAll(exitCode);
    }
    return running;
  };

  const onSignal = (name: string, exitCode: number): void => {
    if (running === null) void begin(name);
    else host.exit(exitCode);
  };
  // 128 + signal number, as shells report it.
  const onSigterm = (): void => {
    onSignal('SIGTERM', 143);
  };
  const onSigint = (): void => {
    onSignal('SIGINT', 130);
  };
  host.on('SIGTERM', onSigterm);
  host.on('SIGINT', onSigint);

  return {
    signal: controller.signal,
    onShutdown: (name, close) => {
      closers.push({ name, close });
    },
    begin,
  };
}
