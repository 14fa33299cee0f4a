import { setMaxListeners } from 'node:events';
import { UlyssesError } from '@ulysses/errors';

/** Longest delay that a Node timer can hold; longer limits count as this. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A signal with something to clean up: call `release` when the work it guards has ended, however it ended. */
export interface ScopedSignal {
  readonly signal: AbortSignal;
  readonly release: () => void;
}

/** Aborts with a DEADLINE error after `ms`, or with the reason of `parent` when that aborts first. */
export function deadlineSignal(ms: number, parent?: AbortSignal): ScopedSignal {
  const controller = new AbortController();
  const linked = linkSignals([parent, controller.signal]);
  const timer = setTimeout(
    () => {
      controller.abort(new UlyssesError('DEADLINE', `the deadline of ${ms} ms passed`, { ms }));
    },
    Math.min(ms, MAX_TIMER_MS),
  );
  return {
    signal: linked.signal,
    release: () => {
      clearTimeout(timer);
      linked.release();
    },
  };
}

/**
 * Aborts with the first of `parents` that aborts. Instead of `AbortSignal.any`, which on Node 20 leaves an entry on a
 * long-lived parent for every signal ever made from it. A parent may have any number of children at a time, such as the calls
 * that a connection has in flight.
 */
export function linkSignals(parents: readonly (AbortSignal | undefined)[]): ScopedSignal {
  const controller = new AbortController();
  const present = parents.filter((parent) => parent !== undefined);
  const listeners = present.map((parent) => () => {
    controller.abort(parent.reason);
  });
  present.forEach((parent, i) => {
    if (parent.aborted) {
      controller.abort(parent.reason);
      return;
    }
    onAbort(parent, listeners[i]!);
  });
  return {
    signal: controller.signal,
    release: () => {
      present.forEach((parent, i) => {
        parent.removeEventListener('abort', listeners[i]!);
      });
    },
  };
}

/** Calls back once; as many as like may wait under one signal: a cluster's ranks, the calls of a connection. */
export function onAbort(signal: AbortSignal, listener: () => void): void {
  setMaxListeners(0, signal);
  signal.addEventListener('abort', listener, { once: true });
}

/** Resolves after `ms`; throws the reason of `signal` when that aborts first. */
export function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(
      () => {
        signal.removeEventListener('abort', stop);
        resolve();
      },
      Math.min(ms, MAX_TIMER_MS),
    );
    onAbort(signal, stop);
  });
}

/**
 * Settles as `promise` does, or throws the reason of `signal` when that aborts first. The work itself goes on, and holds what waited for
 * it until it ends: what many wait for, one after the other, is a `Deferred`.
 */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) stop();
    onAbort(signal, stop);
    promise.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', stop);
    });
  });
}
