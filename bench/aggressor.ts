import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Order, Word } from './aggressor-process.js';

/** A slow one is stopped for the first of these, and lives for the second, in turn. */
const STOPPED_MS = 90;
const AWAKE_MS = 10;

/** Another job on the same cluster, in a process of its own. */
export class Aggressor {
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#process = child;
  }

  static async start(address: string): Promise<Aggressor> {
    const path = fileURLToPath(new URL('aggressor-process.js', import.meta.url));
    const child = fork(path, [address], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const aggressor = new Aggressor(child);
    await aggressor.#hear('ready');
    return aggressor;
  }

  /** Acts while its steps are in flight; with `slow`, while the process that is to read their results mostly stands still. */
  async during<T>(slow: boolean, act: () => Promise<T>): Promise<T> {
    const busy = this.#hear('busy');
    this.#order({ kind: 'go' });
    await busy;
    const pace = slow ? new Pace(this.#process) : null;
    try {
      return await act();
    } finally {
      pace?.end();
      const resting = this.#hear('resting');
      this.#order({ kind: 'rest' });
      await resting;
    }
  }

  async stop(): Promise<void> {
    const exited = once(this.#process, 'exit');
    this.#process.disconnect();
    await exited;
  }

  #order(order: Order): void {
    this.#process.send(order);
  }

  /** One listener until it comes: several words may come at once. */
  async #hear(kind: Word['kind']): Promise<void> {
    await new Promise<void>((resolve) => {
      const listen = (word: unknown): void => {
        if ((word as Word).kind !== kind) return;
        this.#process.off('message', listen);
        resolve();
      };
      this.#process.on('message', listen);
    });
  }
}

/** Stops and wakes a process by turns. */
class Pace {
  readonly #process: ChildProcess;
  #timer: NodeJS.Timeout;

  constructor(child: ChildProcess) {
    this.#process = child;
    this.#timer = this.#stop();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#process.kill('SIGCONT');
  }

  #stop(): NodeJS.Timeout {
    this.#process.kill('SIGSTOP');
    return (this.#timer = setTimeout(() => this.#wake(), STOPPED_MS));
  }

  #wake(): NodeJS.Timeout {
    this.#process.kill('SIGCONT');
    return (this.#timer = setTimeout(() => this.#stop(), AWAKE_MS));
  }
}
