import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Times of one variant of a peer, and the CPU time of all its processes where it says so. */
export interface PeerTimes {
  readonly ms: readonly number[];
  readonly cpuSeconds?: number;
}

const START_MS = 120_000;
const ROOT = new URL('../../', import.meta.url);

/** A PyTorch program that stays alive between windows, so that start-up is never measured: `bench/peers`. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  /** What it said of itself when it was ready, for example its version. */
  about = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(script: string, args: readonly (string | number)[]): Promise<Peer> {
    const environment = fileURLToPath(new URL('scripts/python-venv.mjs', ROOT));
    const interpreter = execFileSync(process.execPath, [environment], { encoding: 'utf8' }).trim();
    const path = fileURLToPath(new URL(`bench/peers/${script}`, ROOT));
    const child = spawn(interpreter, [path, ...args.map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
    const peer = new Peer(child);
    const [ready, ...about] = (await peer.#line()).split(' ');
    if (ready !== 'ready') throw new Error(`${script} said ${ready}`);
    peer.about = about.join(' ');
    return peer;
  }

  /** Runs every variant of the peer so many times. */
  async measure(repeats: number): Promise<Record<string, PeerTimes>> {
    return await this.ask<Record<string, PeerTimes>>(String(repeats));
  }

  /** Sends one line, and reads the JSON line that answers it. */
  async ask<Answer>(line: string): Promise<Answer> {
    this.#child.stdin!.write(`${line}\n`);
    return JSON.parse(await this.#line()) as Answer;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await exited;
  }

  async #line(): Promise<string> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), START_MS);
    try {
      const next = await this.#lines.next();
      if (next.done === true) throw new Error('the peer ended without an answer');
      return next.value;
    } finally {
      clearTimeout(timer);
    }
  }
}
