import { randomUUID } from 'node:crypto';
import { UlyssesError } from '@ulysses/errors';
import type { ClusterStatus } from '@ulysses/rpc';
import { delay } from '@ulysses/runtime';
import { levelOf, WITH_FAULT_POINTS, WITH_STRICT_MALLOC, type Level } from '../support/fault-point.js';
import { freePort, oneWayProxy, type OneWayProxy } from '../support/one-way-proxy.js';
import { Parts, type Part } from '../support/parts.js';
import { startTrainer, type TrainerWorker } from '../support/trainer-worker.js';

/** How long a lease lives, and so how long a lost rank or leader is missed. */
const LEASE = '3s';
/** Ranks look for what outlived it every five seconds. */
const STORE_TTL = '1s';
const MOST_TRAINERS = 4;
const SETTLE_MS = 20_000;
/** Between two looks at a cluster that is not at rest: looking costs every process a collection. */
const POLL_MS = 100;

interface RankPart extends Part {
  /** Where its ports are dialled; none: the ports themselves. */
  readonly proxies: { readonly control: OneWayProxy; readonly tensor: OneWayProxy } | null;
}

/** Soon enough for a step whose links are cut, and long enough for a process that is only busy. */
export const SILENT_PEER_MS = 10_000;

const ENVIRONMENT = {
  ...WITH_FAULT_POINTS,
  ...WITH_STRICT_MALLOC,
  ULYSSES_SILENT_PEER: `${SILENT_PEER_MS}ms`,
};

/** What a process may hold beyond its level, however many faults it has lived through. */
const MARGINS = {
  /** Compiled code and what it learned; everything of a step would be more. */
  heapBytes: 6 * 2 ** 20,
  /** Buffers of connections to processes that came later. */
  externalBytes: 2 ** 20,
  /**
   * Pages of libraries that were touched late, stacks of threads, and holes that V8's compilers leave in malloc's heap: 13 MB in the
   * first twenty steps on a Zen 5, and 2 MB in the next hundred. The soak compares what is held later on, and more closely.
   */
  nativeBytes: 20 * 2 ** 20,
} as const;
const HELD = Object.keys(MARGINS) as (keyof typeof MARGINS)[];

interface NamedLevel extends Level {
  /** What the process is: `leader`, `standby`, `rank` or `trainer`. */
  readonly name: string;
  readonly pid: number;
}

/**
 * A cluster whose processes are killed again and again, and replaced: two coordinators, ranks, and four trainers, with
 * their membership in a Redis that may die too. All of them have fault points.
 */
export class FaultCluster {
  readonly cpSize: number;
  readonly name = randomUUID();
  readonly trainers: TrainerWorker[] = [];
  readonly #parts: Parts;
  readonly #proxied: boolean;
  #coordinators: Part[] = [];
  #ranks: RankPart[] = [];
  /** The most that a process of every kind held when the cluster was new. */
  #allowed: ReadonlyMap<string, NamedLevel> | null = null;
  readonly #ended = new AbortController();

  private constructor(cpSize: number, redisPort: number, proxied: boolean) {
    this.cpSize = cpSize;
    this.#proxied = proxied;
    this.#parts = new Parts({
      rendezvous: `redis://127.0.0.1:${redisPort}`,
      cluster: this.name,
      env: ENVIRONMENT,
    });
  }

  static async start(cpSize: number, redisPort: number, proxied: boolean): Promise<FaultCluster> {
    const cluster = new FaultCluster(cpSize, redisPort, proxied);
    cluster.#coordinators = [await cluster.#coordinator()];
    await Promise.all(Array.from({ length: cpSize }, () => cluster.addRank()));
    const standby = await cluster.#coordinator();
    cluster.#coordinators.push(standby);
    // Whoever asks for a status keeps a connection; later ones ask both.
    await cluster.#parts.follows(standby.address, cluster.#coordinators[0]!.address);
    cluster.replaceTrainers();
    return cluster;
  }

  /** Of all coordinators, the one that leads first. */
  get addresses(): string {
    return this.#coordinators.map(({ address }) => address).join(',');
  }

  /** The coordinator that leads. */
  async leader(): Promise<Part> {
    return (await this.#status()).leader;
  }

  async rankOf(index: number): Promise<RankPart> {
    const { status } = await this.#status();
    const member = status.ranks.find(({ rank }) => rank.rank === index)?.rank.member;
    const found = this.#ranks.find((rank) => rank.member === member);
    if (found === undefined) throw new Error(`rank ${index} is member ${member}, none of this cluster's`);
    return found;
  }

  async addRank(): Promise<void> {
    const flags = ['--store-ttl', STORE_TTL];
    if (!this.#proxied) {
      this.#ranks.push({ ...(await this.#parts.rank(...flags)), proxies: null });
      return;
    }
    const [control, tensor] = [await freePort(), await freePort()];
    const proxies = {
      control: await oneWayProxy(`127.0.0.1:${control}`),
      tensor: await oneWayProxy(`127.0.0.1:${tensor}`),
    };
    const listen = ['--listen', `127.0.0.1:${control}`, '--tensor-listen', `127.0.0.1:${tensor}`];
    const advertise = ['--advertise', proxies.control.address, '--tensor-advertise', proxies.tensor.address];
    this.#ranks.push({ ...(await this.#parts.rank(...flags, ...listen, ...advertise)), proxies });
  }

  /** Waits for a rank that was killed, or kills it. */
  async forgetRank(rank: RankPart): Promise<void> {
    await rank.end('SIGKILL');
    this.#ranks = this.#ranks.filter((each) => each !== rank);
    await rank.proxies?.control.stop();
    await rank.proxies?.tensor.stop();
  }

  /** Starts one at the address of a coordinator that was killed. */
  async replaceCoordinator(killed: Part): Promise<void> {
    await killed.end('SIGKILL');
    const next = await this.#coordinator('--listen', killed.address);
    this.#coordinators = this.#coordinators.map((each) => (each === killed ? next : each));
  }

  replaceTrainers(): void {
    for (let owner = 0; owner < MOST_TRAINERS; owner++) {
      if (this.trainers[owner]?.alive !== true) this.trainers[owner] = startTrainer(ENVIRONMENT);
    }
  }

  /** Resolves when an owner's call has reached the coordinator. */
  async untilStepIsKnown(): Promise<void> {
    const { leader } = await this.#status();
    await this.#parts.until(leader.address, 'a step is known', ({ stepsRunning }) => stepsRunning > 0);
  }

  /**
   * Resolves when the cluster is as it was: every rank ready, no step, nothing kept, no region in use, and every
   * process with the descriptors and, but for a margin, the memory that it had.
   */
  async atRest(): Promise<ClusterStatus> {
    const deadline = performance.now() + SETTLE_MS;
    for (;;) {
      const { status } = await this.#status();
      const unsettled = [...this.#unsettled(status)];
      const missing = unsettled.length > 0 ? unsettled : await this.#aboveLevel();
      if (missing.length === 0) return status;
      if (performance.now() > deadline)
        throw new Error(`not at rest after ${SETTLE_MS} ms: ${missing.join('; ')}`);
      await delay(POLL_MS, this.#ended.signal);
    }
  }

  /** What every process holds. */
  async levels(): Promise<readonly NamedLevel[]> {
    const { leader } = await this.#status();
    const named = [
      ...this.#coordinators.map((each) => ({ ...each, name: each === leader ? 'leader' : 'standby' })),
      ...this.#ranks.map(({ child }) => ({ name: 'rank', child })),
      ...this.trainers.map(({ child }) => ({ name: 'trainer', child })),
    ];
    return await Promise.all(
      named.map(async ({ name, child }) => ({ ...(await levelOf(child)), name, pid: child.pid ?? 0 })),
    );
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#parts.stop();
    await Promise.all(this.trainers.map((trainer) => trainer.kill()));
    for (const { proxies } of this.#ranks) {
      await proxies?.control.stop();
      await proxies?.tensor.stop();
    }
  }

  #coordinator(...flags: string[]): Promise<Part> {
    return this.#parts.coordinator(this.cpSize, '--lease', LEASE, ...flags);
  }

  *#unsettled({ complete, ranks, stepsRunning }: ClusterStatus): Iterable<string> {
    if (!complete || ranks.length !== this.cpSize) yield `${ranks.length} of ${this.cpSize} ranks are ready`;
    if (stepsRunning > 0) yield `the coordinator runs ${stepsRunning} steps`;
    for (const { rank, stepsRunning: steps, handles, storeBytes } of ranks) {
      if (steps + handles + storeBytes > 0) {
        yield `rank ${rank.rank} has ${steps} steps, ${handles} handles, ${storeBytes} bytes kept`;
      }
    }
  }

  /** The first time, what there is becomes the level that everything after is held to. */
  async #aboveLevel(): Promise<string[]> {
    const levels = await this.levels();
    this.#allowed ??= mostOfEach(levels);
    const allowed = this.#allowed;
    return levels.flatMap((level) => {
      const { name, pid, descriptors, regionBytes } = level;
      const most = allowed.get(name);
      if (most === undefined) return [];
      const had = most.descriptors;
      const above = HELD.filter((bytes) => level[bytes] > most[bytes] + MARGINS[bytes]);
      return [
        ...(descriptors > had ? [`${name} ${pid} has ${descriptors} descriptors, not ${had}`] : []),
        ...above.map(
          (bytes) => `${name} ${pid} has ${level[bytes]} ${bytes}, not ${most[bytes] + MARGINS[bytes]}`,
        ),
        ...(regionBytes > 0 ? [`${name} ${pid} holds ${regionBytes} bytes of regions`] : []),
      ];
    });
  }

  async #status(): Promise<{ leader: Part; status: ClusterStatus }> {
    const deadline = performance.now() + SETTLE_MS;
    let last: unknown = null;
    while (performance.now() < deadline) {
      for (const leader of this.#coordinators) {
        try {
          return { leader, status: await this.#parts.statusOf(leader.address) };
        } catch (thrown) {
          if (!(thrown instanceof UlyssesError)) throw thrown;
          last = thrown;
        }
      }
      await delay(POLL_MS, this.#ended.signal);
    }
    throw new Error(`no coordinator leads for ${SETTLE_MS} ms; last: ${String(last)}`);
  }
}

function mostOfEach(levels: readonly NamedLevel[]): ReadonlyMap<string, NamedLevel> {
  const most = new Map<string, NamedLevel>();
  for (const level of levels) {
    const before = most.get(level.name) ?? level;
    most.set(level.name, {
      ...level,
      descriptors: Math.max(before.descriptors, level.descriptors),
      heapBytes: Math.max(before.heapBytes, level.heapBytes),
      externalBytes: Math.max(before.externalBytes, level.externalBytes),
      nativeBytes: Math.max(before.nativeBytes, level.nativeBytes),
    });
  }
  return most;
}
