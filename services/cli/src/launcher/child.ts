import { fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { UlyssesError } from '@ulysses/errors';
import { orAborted, deadlineSignal } from '@ulysses/runtime';

/** How a process ended. */
export interface ChildEnd {
  /** Null when a signal ended it, or when it could not be started. */
  readonly exitCode: number | null;
  readonly killedBy: NodeJS.Signals | null;
  /** For people: `exit code 1`, `SIGKILL`. */
  readonly reason: string;
}

/** The line that a service prints on stdout when it can be used. */
export type ReadyLine = Readonly<Record<string, unknown>>;

/**
 * A service that runs as a child process.
 *
 * C1: it is in a process group of its own, so Ctrl-C in a terminal reaches only the launcher, which decides the order.
 * C2: it holds one end of an IPC channel: when the launcher dies, kill -9 included, the service sees it close and exits.
 */
export interface Child {
  /** 0 when it could not be started. */
  readonly pid: number;
  readonly ended: Promise<ChildEnd>;
  /** Its first line; PEER_LOST when it ends before, CONFIG when it refused its configuration, DEADLINE. */
  ready(deadlineMs: number): Promise<ReadyLine>;
  /** SIGTERM, and SIGKILL when it is still there after `graceMs`. */
  stop(graceMs: number): Promise<ChildEnd>;
  kill(): void;
}

/** Exit code of a service that refused its configuration. */
export const EXIT_CONFIG = 2;

/** `name` is for messages. Logs of the service go to this process's stderr. */
export function startChild(name: string, program: string, args: readonly string[]): Child {
  const child = fork(program, args, {
    execArgv: [],
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  const ended = new Promise<ChildEnd>((resolve) => {
    child.once('exit', (exitCode, killedBy) => {
      resolve({ exitCode, killedBy, reason: killedBy ?? `exit code ${exitCode}` });
    });
    child.once('error', ({ message }) => {
      if (child.pid === undefined) resolve({ exitCode: null, killedBy: null, reason: message });
    });
  });
  const firstLine = new Promise<ReadyLine>((resolve) => {
    // Read to the end: a child that fills an unread pipe would block.
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const parsed = parseReady(line);
      if (parsed !== null) resolve(parsed);
    });
  });
  const endedEarly = ended.then(({ exitCode, reason }): never => {
    const code = exitCode === EXIT_CONFIG ? 'CONFIG' : 'PEER_LOST';
    throw new UlyssesError(code, `the ${name} ended before it was ready: ${reason}`, { peer: name });
  });
  endedEarly.catch(() => undefined);

  return {
    pid: child.pid ?? 0,
    ended,
    async ready(deadlineMs) {
      const deadline = deadlineSignal(deadlineMs);
      try {
        return await orAborted(Promise.race([firstLine, endedEarly]), deadline.signal);
      } finally {
        deadline.release();
      }
    },
    async stop(graceMs) {
      child.kill('SIGTERM');
      const escalation = setTimeout(() => child.kill('SIGKILL'), graceMs);
      const end = await ended;
      clearTimeout(escalation);
      return end;
    },
    kill: () => {
      child.kill('SIGKILL');
    },
  };
}

function parseReady(line: string): ReadyLine | null {
  try {
    const parsed = JSON.parse(line) as unknown;
    return typeof parsed === 'object' && parsed !== null && 'ready' in parsed ? { ...parsed } : null;
  } catch {
    return null;
  }
}
