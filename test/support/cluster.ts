import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  connectCoordinator,
  type ClusterStatus,
  type CoordinatorClient,
  type RankStatus,
} from '@ulysses/rpc';
import type { TlsFiles } from '@ulysses/runtime';

export interface ClusterOptions {
  readonly cpSize: number;
  /** More flags of `ulysses up`. */
  readonly flags?: readonly string[];
  /** Its processes collect garbage often, so that their resident memory is what they hold. @default false */
  readonly collectOften?: boolean;
  /** Files of all its processes, and of the test's own connection. @default plaintext */
  readonly tls?: TlsFiles | null;
  /** More environment of its processes. */
  readonly env?: Readonly<Record<string, string>>;
}

interface RankProcess {
  readonly rank: number;
  readonly member: string;
  readonly pid: number;
}

/** A line of `ulysses up --json`: ready, or something that happened. */
export interface LauncherLine {
  readonly ready?: boolean;
  readonly address?: string;
  readonly controlAddress?: string;
  readonly metricsAddress?: string | null;
  readonly member?: string;
  readonly coordinator?: { readonly pid: number };
  readonly event?: string;
  readonly complete?: boolean;
  readonly ranks?: readonly RankProcess[];
}

const READY_MS = 30_000;

const everyRankRuns = (ranks: readonly RankStatus[]): boolean =>
  ranks.every(({ stepsRunning }) => stepsRunning > 0);

/**
 * A real cluster: `ulysses up --json` as a child process with a coordinator and ranks below it. Its logs are kept and
 * printed only when it does not start.
 */
export class TestCluster {
  readonly address: string;
  readonly coordinatorPid: number;
  /** The last lines that its processes logged. */
  readonly log: readonly string[];
  readonly #launcher: ChildProcess;
  readonly #coordinator: CoordinatorClient;
  #ranks: readonly RankProcess[];
  #complete = true;
  #onChange: (() => void)[] = [];

  constructor(
    launcher: ChildProcess,
    ready: LauncherLine,
    log: readonly string[],
    tls: TlsFiles | null = null,
  ) {
    this.#launcher = launcher;
    this.log = log;
    this.address = ready.address ?? '';
    this.coordinatorPid = ready.coordinator?.pid ?? 0;
    this.#ranks = ready.ranks ?? [];
    this.#coordinator = connectCoordinator(this.address, { tls });
  }

  pidOf(rank: number): number {
    const found = this.#ranks.find((process) => process.rank === rank);
    if (found === undefined) throw new Error(`rank ${rank} has no process`);
    return found.pid;
  }

  /** SIGKILL; until the launcher has seen it the membership counts as incomplete. */
  kill(rank: number): void {
    this.#complete = false;
    process.kill(this.pidOf(rank), 'SIGKILL');
  }

  /** Resolves when every rank is taken again after a `kill`. */
  async untilComplete(): Promise<void> {
    while (!this.#complete) await new Promise<void>((resolve) => this.#onChange.push(resolve));
  }

  /** Resolves when the set of ranks is complete without the one that `pid` was, which somebody killed. */
  async untilReplaced(pid: number): Promise<void> {
    while (!this.#complete || this.#ranks.some((rank) => rank.pid === pid)) {
      await new Promise<void>((resolve) => this.#onChange.push(resolve));
    }
  }

  /** Resolves when every rank takes part in a running step. */
  async untilStepRuns(): Promise<void> {
    await this.#until('a step runs', everyRankRuns);
  }

  /**
   * The call that `start` makes, once every rank takes part in its step. A call that ended before it was seen is made
   * again: on a loaded machine a status may take longer than a step.
   */
  async whileStepRuns<T>(start: () => Promise<T>): Promise<{ readonly call: Promise<T> }> {
    for (;;) {
      let ended = false;
      const call = start().finally(() => (ended = true));
      call.catch(() => undefined); // The caller hears of it.
      const { ranks } = await this.#until('a step runs', (ranks) => ended || everyRankRuns(ranks));
      if (everyRankRuns(ranks)) return { call };
      await call;
    }
  }

  /** Resolves when the coordinator has a step, which may still wait for owners or ranks. */
  async untilStepIsKnown(): Promise<void> {
    await this.#until('the coordinator has a step', (_, { stepsRunning }) => stepsRunning > 0);
  }

  /** Resolves when no rank takes part in a step. */
  async untilIdle(): Promise<void> {
    await this.#until('no step runs', (ranks) => ranks.every(({ stepsRunning }) => stepsRunning === 0));
  }

  /** Resolves when no rank keeps anything for a backward pass, and `also` holds. */
  async untilStoreIsEmpty(also: () => boolean = () => true): Promise<void> {
    await this.#until('the store is empty', (ranks) => {
      const empty = ranks.every(({ handles, storeBytes }) => handles === 0 && storeBytes === 0);
      return also() && empty;
    });
  }

  /** Bytes that the ranks keep for backward passes, over all ranks. */
  async storeBytes(): Promise<number> {
    return (await this.storeBytesPerRank()).reduce((sum, bytes) => sum + bytes, 0);
  }

  async storeBytesPerRank(): Promise<number[]> {
    const { ranks } = await this.#coordinator.getStatus({}, { deadlineMs: READY_MS });
    return ranks.map(({ storeBytes }) => storeBytes);
  }

  async #until(
    what: string,
    holds: (ranks: readonly RankStatus[], status: ClusterStatus) => boolean,
  ): Promise<ClusterStatus> {
    const deadline = performance.now() + READY_MS;
    for (;;) {
      const status = await this.#coordinator.getStatus({}, { deadlineMs: READY_MS });
      if (status.ranks.length > 0 && holds(status.ranks, status)) return status;
      if (performance.now() > deadline) {
        const seen = JSON.stringify(status);
        throw new Error(
          `not within ${READY_MS} ms: ${what}; last status ${seen}; log:\n${this.log.join('\n')}`,
        );
      }
    }
  }

  async stop(): Promise<void> {
    this.#coordinator.close();
    if (this.#launcher.exitCode !== null) return;
    const exited = once(this.#launcher, 'exit');
    this.#launcher.kill('SIGTERM');
    await exited;
  }

  handle(line: LauncherLine): void {
    if (line.event !== 'epoch') return;
    this.#complete = line.complete === true;
    this.#ranks = line.ranks ?? [];
    for (const resolve of this.#onChange.splice(0)) resolve();
  }
}

const CLI = fileURLToPath(new URL('../../services/cli/dist/main.js', import.meta.url));
const COLLECT_OFTEN = { NODE_OPTIONS: `--import ${new URL('collect-often.mjs', import.meta.url).href}` };

export async function startCluster(options: ClusterOptions): Promise<TestCluster> {
  const { cpSize, flags = [], collectOften = false, tls = null, env = {} } = options;
  const size = ['--context-parallel-size', String(cpSize)];
  const { child, firstLine, log, onLine } = await startProcess(
    [CLI, 'up', '--json', '--log-level', 'warn', ...size, ...flags, ...tlsFlags(tls)],
    { ...env, ...(collectOften ? COLLECT_OFTEN : {}) },
  );
  const cluster = new TestCluster(child, firstLine, log, tls);
  onLine((line) => {
    cluster.handle(line);
  });
  return cluster;
}

export function tlsFlags(tls: TlsFiles | null): string[] {
  return tls === null ? [] : ['--tls-cert', tls.cert, '--tls-key', tls.key, '--tls-ca', tls.ca];
}

/** A coordinator and its only rank, which `ulysses up` does not start: context parallelism of one is no parallelism. */
export async function startSingleRank(): Promise<{ readonly address: string; stop(): Promise<void> }> {
  const logs = ['--log-level', 'warn'];
  const coordinator = await startProcess([CLI, 'coordinator', '--context-parallel-size', '1', ...logs]);
  const address = coordinator.firstLine.controlAddress ?? '';
  const rank = await startProcess([CLI, 'rank', '--rendezvous', address, ...logs]);
  const stop = async ({ child }: StartedProcess): Promise<void> => {
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
  };
  return {
    address,
    stop: async () => {
      await stop(rank);
      await stop(coordinator);
    },
  };
}

/** A coordinator whose ranks never come. */
export async function startCoordinator(
  cpSize: number,
  ...flags: string[]
): Promise<{ readonly address: string; status(): Promise<ClusterStatus>; stop(): Promise<void> }> {
  const size = ['--context-parallel-size', String(cpSize)];
  const { child, firstLine } = await startProcess([
    CLI,
    'coordinator',
    ...size,
    ...flags,
    '--log-level',
    'warn',
  ]);
  const address = firstLine.controlAddress ?? '';
  const client = connectCoordinator(address);
  return {
    address,
    status: () => client.getStatus({}, { deadlineMs: READY_MS }),
    stop: async () => {
      client.close();
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    },
  };
}

export interface StartedProcess {
  readonly child: ChildProcess;
  readonly firstLine: LauncherLine;
  readonly log: readonly string[];
  /** Hears of every later line. */
  readonly onLine: (listener: (line: LauncherLine) => void) => void;
}

/** Runs a program that prints a ready line as JSON; with an IPC channel it ends with this process, whatever ends it. */
export async function startProcess(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<StartedProcess> {
  const child = spawn(process.execPath, argv, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const log: string[] = [];
  createInterface({ input: child.stderr! }).on('line', (line) => {
    log.push(line);
    if (log.length > 50) log.shift();
  });
  return await new Promise<StartedProcess>((resolve, reject) => {
    let listener: ((line: LauncherLine) => void) | null = null;
    const giveUp = (reason: string): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`${argv.slice(1).join(' ')} did not start: ${reason}\n${log.join('\n')}`));
    };
    const timer = setTimeout(() => {
      giveUp(`not ready within ${READY_MS} ms`);
    }, READY_MS);
    child.once('exit', (code) => {
      giveUp(`exit code ${code}`);
    });
    createInterface({ input: child.stdout! }).on('line', (text) => {
      const line = JSON.parse(text) as LauncherLine;
      if (line.ready === true) {
        clearTimeout(timer);
        resolve({ child, firstLine: line, log, onLine: (next) => (listener = next) });
      } else listener?.(line);
    });
  });
}
