import type { EventEmitter } from 'node:events';

/** The part of `process` that is used here. */
export interface ChildProcess extends Pick<EventEmitter, 'once'> {
  readonly channel?: object | null | undefined;
}

/**
 * Calls `onOrphaned` once when the launcher that forked this process is gone. The launcher must fork with an IPC
 * channel, whose end the operating system closes even after kill -9. Returns false without one: started by hand,
 * or by a service manager that does its own cleaning up.
 */
export function watchLauncher(onOrphaned: () => void, child: ChildProcess = process): boolean {
  if (child.channel === undefined || child.channel === null) return false;
  child.once('disconnect', onOrphaned);
  return true;
}
