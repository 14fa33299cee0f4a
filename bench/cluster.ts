import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

interface ReadyLine {
  readonly ready?: boolean;
  readonly address?: string;
  readonly coordinator?: { readonly pid: number };
  readonly ranks?: readonly { readonly rank: number; readonly pid: number }[];
}

/** What Linux counts CPU time in, for programs. */
const TICKS_PER_SECOND = 100;

const CLI = fileURLToPath(new URL('../../services/cli/dist/main.js', import.meta.url));

/** A real cluster: `ulysses up` with its coordinator and ranks. */
export class BenchCluster {
  readonly address: string;
  readonly #launcher: ChildProcess;
  readonly #ready: ReadyLine;

  private constructor(launcher: ChildProcess, ready: ReadyLine) {
    this.#launcher = launcher;
    this.#ready = ready;
    this.address = ready.address ?? '';
  }

  /** `inside` is a command that runs another one where the cluster is to be. */
  static async start(
    cpSize: number,
    flags: readonly string[] = [],
    inside: readonly string[] = [],
  ): Promise<BenchCluster> {
    const size = ['--context-parallel-size', String(cpSize), '--log-level', 'error'];
    const command = [...inside, process.execPath, CLI, 'up', '--json', ...size, ...flags];
    const child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    });
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    for (;;) {
      const next = await lines.next();
      if (next.done === true) throw new Error('the cluster did not start');
      const line = JSON.parse(next.value) as ReadyLine;
      if (line.ready !== true) continue;
      // Its later lines are of no interest, but must be read.
      child.stdout!.resume();
      return new BenchCluster(child, line);
    }
  }

  /** CPU time so far, of the coordinator and of all ranks together; from /proc, so on Linux only. */
  cpuSeconds(): { readonly coordinator: number; readonly ranks: number } {
    const { coordinator, ranks = [] } = this.#ready;
    const seconds = (members: readonly { readonly pid: number }[]): number =>
      members.reduce((sum, { pid }) => sum + cpuSecondsOf(pid), 0);
    return { coordinator: seconds(coordinator === undefined ? [] : [coordinator]), ranks: seconds(ranks) };
  }

  /** SIGKILL, without a word to anyone. */
  kill(rank: number): void {
    const found = this.#ready.ranks?.find((process) => process.rank === rank);
    if (found === undefined) throw new Error(`rank ${rank} has no process`);
    process.kill(found.pid, 'SIGKILL');
  }

  async stop(): Promise<void> {
    if (this.#launcher.exitCode !== null) return;
    const exited = once(this.#launcher, 'exit');
    this.#launcher.kill('SIGTERM');
    await exited;
  }
}

function cpuSecondsOf(pid: number): number {
  const afterName = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!;
  const [user, system] = afterName.split(' ').slice(11, 13).map(Number);
  return (user! + system!) / TICKS_PER_SECOND;
}
