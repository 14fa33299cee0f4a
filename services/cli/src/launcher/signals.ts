import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { UlyssesError } from '@ulysses/errors';
import type { ScopedSignal } from '@ulysses/runtime';

/** Aborts on the first SIGINT or SIGTERM; the second finds no listener and ends the process at once. */
export function interruptSignal(): ScopedSignal {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    release();
    controller.abort(new UlyssesError('CANCELLED', `interrupted by ${name}`, { signal: name }));
  };
  const release = (): void => {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  return { signal: controller.signal, release };
}

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Waits for a child that stands for this process: passes signals on to it and resolves with its exit code, 128 + signal
 * number when a signal ended it. Throws CONFIG when it could not be started.
 */
export async function foreground(child: ChildProcess): Promise<number> {
  const onSignal = (name: NodeJS.Signals): void => {
    // A terminal sends Ctrl-C to both of us already, and many programs take a second one as "at once".
    if (name !== 'SIGINT' || !process.stdin.isTTY) child.kill(name);
  };
  for (const name of FORWARDED) process.on(name, onSignal);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('exit', (code, killedBy) => {
        resolve(killedBy === null ? (code ?? 1) : 128 + constants.signals[killedBy]);
      });
      child.once('error', ({ message }) => {
        const notStarted = `the command could not be started: ${message}`;
        if (child.pid === undefined) reject(new UlyssesError('CONFIG', notStarted));
      });
    });
  } finally {
    for (const name of FORWARDED) process.off(name, onSignal);
  }
}
