import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Deferred } from '@ulysses/runtime';
import { environmentWith } from './config.js';

const CLI = fileURLToPath(new URL('../dist/main.js', import.meta.url));

/** What is left of a process and of everything it started. */
export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
}

/** `ulysses ...` as a test sees it. */
export interface CliProcess {
  readonly pid: number;
  /** The first line on stdout, past or future, that `wanted` picks; throws when the process ends without one. */
  readonly until: <T>(wanted: (line: string) => T | undefined) => Promise<T>;
  /** Likewise on stderr. */
  readonly untilLogged: <T>(wanted: (line: string) => T | undefined) => Promise<T>;
  /**
   * Resolves when the process and its children are gone: services write their logs to the stderr that they inherited,
   * so it closes with the last of them.
   */
  readonly ended: Promise<Ended>;
  readonly kill: (signal: NodeJS.Signals) => void;
}

/** Runs the built command line. `env` is added to this process's environment. */
export function startCli(args: readonly string[], env: Readonly<Record<string, string>> = {}): CliProcess {
  const child = spawn(process.execPath, [CLI, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environmentWith(env),
  });
  const stdout = new Lines(child.stdout);
  const stderr = new Lines(child.stderr);
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode) => {
      const reason = `ended with exit code ${exitCode}; stderr:\n${stderr.all.join('\n')}`;
      stdout.close(reason);
      stderr.close(reason);
      resolve({ exitCode, stdout: stdout.all, stderr: stderr.all });
    });
  });
  return {
    pid: child.pid ?? 0,
    until: (wanted) => stdout.until(wanted),
    untilLogged: (wanted) => stderr.until(wanted),
    ended,
    kill: (signal) => child.kill(signal),
  };
}

/** Runs to the end. */
export async function runCli(
  args: readonly string[],
  env?: Readonly<Record<string, string>>,
): Promise<Ended> {
  return await startCli(args, env).ended;
}

interface Waiting {
  readonly onLine: (line: string) => void;
  readonly onClose: (reason: string) => void;
}

class Lines {
  readonly all: string[] = [];
  readonly #waiting = new Set<Waiting>();
  #closed: string | null = null;

  constructor(input: NodeJS.ReadableStream) {
    createInterface({ input }).on('line', (line) => {
      this.all.push(line);
      for (const { onLine } of this.#waiting) onLine(line);
    });
  }

  close(reason: string): void {
    this.#closed = reason;
    for (const { onClose } of this.#waiting) onClose(reason);
  }

  async until<T>(wanted: (line: string) => T | undefined): Promise<T> {
    for (const line of this.all) {
      const found = wanted(line);
      if (found !== undefined) return found;
    }
    const next = new Deferred<T>();
    const waiting = {
      onLine: (line: string): void => {
        const found = wanted(line);
        if (found !== undefined) next.resolve(found);
      },
      onClose: (reason: string): void => {
        next.reject(new Error(`the line that was waited for never came: the process ${reason}`));
      },
    };
    if (this.#closed !== null) waiting.onClose(this.#closed);
    this.#waiting.add(waiting);
    try {
      return await next.promise;
    } finally {
      this.#waiting.delete(waiting);
    }
  }
}
