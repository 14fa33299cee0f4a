import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { UlyssesError } from '@ulysses/errors';
import { connectCoordinator, type ClusterStatus, type CoordinatorClient } from '@ulysses/rpc';
import { startProcess, type StartedProcess } from './cluster.js';

const WAIT_MS = 30_000;

/** One process of a cluster that is started by hand, without the launcher. */
export interface Part {
  readonly address: string;
  readonly member: string;
  /** Of `--metrics`; empty without it. */
  readonly metricsAddress: string;
  readonly pid: number;
  readonly child: ChildProcess;
  /** Sends a signal; resolves with the exit code, null when the signal ended it. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

export interface PartsOptions {
  readonly rendezvous: string;
  readonly cluster: string;
  readonly flags?: readonly string[];
  /** More environment of every part. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The parts of a cluster whose membership is in Redis. */
export class Parts {
  readonly #options: PartsOptions;
  readonly #parts: Part[] = [];
  readonly #clients = new Map<string, CoordinatorClient>();

  constructor(options: PartsOptions) {
    this.#options = options;
  }

  coordinator(cpSize: number, ...flags: string[]): Promise<Part> {
    return this.#start('coordinator', ['--context-parallel-size', String(cpSize), ...flags]);
  }

  rank(...flags: string[]): Promise<Part> {
    return this.#start('rank', ['--threads', '1', ...flags]);
  }

  /** `count` ranks, started together. */
  ranks(count: number, ...flags: string[]): Promise<Part[]> {
    return Promise.all(Array.from({ length: count }, () => this.rank(...flags)));
  }

  /** The status that the coordinator at `address` gives; it leads, or this throws. */
  async statusOf(address: string): Promise<ClusterStatus> {
    const client = this.#clients.get(address) ?? connectCoordinator(address);
    this.#clients.set(address, client);
    return await client.getStatus({}, { deadlineMs: WAIT_MS });
  }

  /** Resolves with the first status of the coordinator at `address` that `holds`. */
  async until(
    address: string,
    what: string,
    holds: (status: ClusterStatus) => boolean,
  ): Promise<ClusterStatus> {
    const deadline = performance.now() + WAIT_MS;
    let last: unknown = null;
    while (performance.now() < deadline) {
      const status = await this.statusOf(address).catch((error: unknown) => {
        last = error;
        return null;
      });
      if (status !== null && holds(status)) return status;
      if (status !== null) last = JSON.stringify(status);
    }
    throw new Error(`not within ${WAIT_MS} ms: ${what}; last: ${String(last)}`);
  }

  /** Resolves when steps can run on `size` ranks. */
  ready(address: string, size: number): Promise<ClusterStatus> {
    return this.until(address, `${size} ranks are ready`, ({ complete, ranks }) => {
      return complete && ranks.length === size;
    });
  }

  async scale(address: string, cpSize: number): Promise<void> {
    const client = connectCoordinator(address);
    await client.scale({ cpSize }, { deadlineMs: WAIT_MS });
    client.close();
  }

  /** Resolves when the coordinator at `address` says that the one at `leader` leads. */
  async follows(address: string, leader: string): Promise<void> {
    const deadline = performance.now() + WAIT_MS;
    for (;;) {
      const told = await this.statusOf(address).then(
        () => null,
        (error: unknown) => (error instanceof UlyssesError ? error.details['leader'] : null),
      );
      if (told === leader) return;
      if (performance.now() > deadline)
        throw new Error(`not within ${WAIT_MS} ms: ${address} follows ${leader}`);
    }
  }

  /** Ends whatever still runs. */
  async stop(): Promise<void> {
    for (const client of this.#clients.values()) client.close();
    await Promise.all(this.#parts.map((part) => part.end('SIGKILL')));
  }

  async #start(service: string, more: readonly string[]): Promise<Part> {
    const { rendezvous, cluster, flags = [], env = {} } = this.#options;
    const common = ['--rendezvous', rendezvous, '--cluster', cluster, '--log-level', 'warn'];
    // The service itself and not `ulysses rank`, whose signals would have to reach it first.
    const program = fileURLToPath(new URL(`../../services/${service}/dist/main.js`, import.meta.url));
    const part = partOf(await startProcess([program, ...common, ...flags, ...more], env));
    this.#parts.push(part);
    return part;
  }
}

function partOf({ child, firstLine }: StartedProcess): Part {
  const exited = once(child, 'exit') as Promise<[number | null]>;
  return {
    address: firstLine.controlAddress ?? '',
    member: firstLine.member ?? '',
    metricsAddress: firstLine.metricsAddress ?? '',
    pid: child.pid ?? 0,
    child,
    end: async (signal) => {
      child.kill(signal);
      const [code] = await exited;
      return code;
    },
  };
}
