import { randomUUID } from 'node:crypto';
import { fieldError, UlyssesError } from '@ulysses/errors';
import {
  ExchangePlane,
  ROUTES,
  SHARED_BYTES,
  TRANSPORTS,
  type OwnerExchange,
  type RouteChoice,
  type Transport,
} from '@ulysses/exchange';
import { DerivedFromPlans, KnownPlans } from '@ulysses/plan';
import { Coordinators, type CallOptions, type CoordinatorClient, type StepKey } from '@ulysses/rpc';
import {
  LEAST_SILENT_PEER_MS,
  SILENT_PEER_MS,
  deadlineSignal,
  orAborted,
  type ConnectionOptions,
} from '@ulysses/runtime';
import { RankLinks } from './rank-links.js';

/** How long closing waits for releases that are under way. */
const CLOSE_MS = 1000;
/** Shared memory is rounded up to huge pages. */
const SHARED_GRAIN_BYTES = 2 ** 21;

/** Something works otherwise than was asked for. */
export interface ClusterWarning {
  readonly kind: 'aligned-by-policy' | 'recompute' | 'shared-memory';
  readonly message: string;
}

export interface ConnectOptions extends ConnectionOptions {
  /** `host:port` of the coordinator, or of several with commas between them: one leads, and is found. */
  readonly address: string;
  /** Name of the training job; many jobs share one cluster. @default 'default' */
  readonly job?: string;
  /** Shared by all sequence owners of one trainer, unique among trainers of the job. @default a random one */
  readonly session?: string;
  /** This process's index among the sequence owners. @default 0 */
  readonly ownerIndex?: number;
  /** How many processes hold a share of the sequence. @default 1 */
  readonly ownerCount?: number;
  /**
   * How rows travel: `relay` through one rank, `direct` straight to every rank, `auto` through one until links to all
   * (at most 64) are up. The same bits. @default 'auto'
   */
  readonly route?: RouteChoice;
  /**
   * What links to ranks of this host and user are made of: `auto` is memory that both read in place beside unix sockets,
   * `unix` only those. Others are always TCP. @default 'auto'
   */
  readonly transport?: Transport;
  /**
   * Size of the memory that those ranks read in place; 0 for none. Connections of one process have it together: the first one
   * decides, and a later one that asks for another size is warned. @default 256 MiB, of which only what is used is touched
   */
  readonly sharedBytes?: number;
  /** Longest that one call may take, replays included. @default 60_000 */
  readonly deadlineMs?: number;
  /** How long the first call waits for a coordinator that cannot be reached. @default 5_000 */
  readonly firstContactMs?: number;
  /** How often a step that failed with a retryable error is replayed. @default Infinity, up to the deadline */
  readonly maxReplays?: number;
  /** Hears of every replay, for logs. */
  readonly onReplay?: (error: UlyssesError, attempt: number) => void;
  /** Hears of each kind of warning once. @default `process.emitWarning` */
  readonly onWarning?: (warning: ClusterWarning) => void;
}

export type ResolvedConnectOptions = Required<ConnectOptions>;

/**
 * A connection to a cluster, held by one sequence owner: the control connection to the coordinator and the tensor links to
 * ranks. It is the `cpGroup` of the attention modules that use it.
 */
export class Cluster {
  readonly options: ResolvedConnectOptions;
  readonly plane: ExchangePlane;
  readonly links: RankLinks;
  /** Of attention. */
  readonly plans = new KnownPlans();
  readonly exchanges = new DerivedFromPlans<OwnerExchange>();
  /** Whether the coordinator has ever answered: before, waiting for it to come back makes little sense. */
  contacted = false;
  readonly #coordinators: Coordinators;
  readonly #lostListeners = new Set<(link: string, reason: string) => void>();
  readonly #warned = new Set<ClusterWarning['kind']>();
  readonly #releases = new Set<Promise<unknown>>();
  #nextCall = 0;
  #closed = false;

  private constructor(
    options: ResolvedConnectOptions,
    coordinators: Coordinators,
    openPlane: (onLost: (link: string, reason: string) => void) => ExchangePlane,
  ) {
    this.options = options;
    this.#coordinators = coordinators;
    this.plane = openPlane((link, reason) => {
      this.#linkLost(link, reason);
    });
    this.links = new RankLinks({ ...options, plane: this.plane });
  }

  static async open(options: ResolvedConnectOptions): Promise<Cluster> {
    const coordinators = new Coordinators(options.address, options);
    const lost: { listener: ((link: string, reason: string) => void) | null } = { listener: null };
    const plane = await ExchangePlane.open({
      listen: null,
      transport: options.transport,
      tls: options.tls,
      insecure: options.insecure,
      silentPeerMs: options.silentPeerMs,
      sharedBytes: options.sharedBytes,
      onLinkLost: (link, reason) => lost.listener?.(link, reason),
    });
    return new Cluster(options, coordinators, (listener) => {
      lost.listener = listener;
      return plane;
    });
  }

  /** The coordinator to call now. */
  get coordinator(): CoordinatorClient {
    return this.#coordinators.current;
  }

  /** A call to `used` failed: the next one goes to another coordinator if that may help. */
  failOver(used: CoordinatorClient, error: UlyssesError): void {
    this.#coordinators.failOver(used, error);
  }

  /** Numbers calls; all owners of a session make the same calls in the same order. */
  nextCall(): number {
    if (this.#closed) throw new UlyssesError('CANCELLED', 'the connection to the cluster is closed');
    return this.#nextCall++;
  }

  /** Says so, unless this connection has said it before. */
  warnOnce(kind: ClusterWarning['kind'], message: string): void {
    if (this.#warned.has(kind)) return;
    this.#warned.add(kind);
    this.options.onWarning({ kind, message });
  }

  /** Says so when the memory shared with ranks has another size than was asked for. */
  warnOfSharedMemory(): void {
    const { sharedBytes: asked } = this.options;
    const actual = this.plane.sharedMemoryBytes;
    // None at all is what the system or the transport has decided.
    if (asked === 0 || actual === 0 || Math.abs(actual - asked) < SHARED_GRAIN_BYTES) return;
    this.warnOnce(
      'shared-memory',
      `sharedBytes is ${asked}, but this process shares ${actual} bytes with ranks: an earlier connection decided`,
    );
  }

  /** The first attempt at the next call's forward. */
  nextStep(): StepKey {
    const { job, session } = this.options;
    return { job, session, call: this.nextCall(), pass: 'forward', attempt: 0 };
  }

  /** Calls back when a tensor link breaks; returns how to stop. */
  onLinkLost(listener: (link: string, reason: string) => void): () => void {
    this.#lostListeners.add(listener);
    return () => this.#lostListeners.delete(listener);
  }

  /** Frees what a forward kept on the ranks. */
  async release(step: StepKey, options: CallOptions): Promise<void> {
    const release = this.coordinator.release({ step }, options);
    this.#releases.add(release);
    try {
      await release;
    } finally {
      this.#releases.delete(release);
    }
  }

  /** Ends running steps; waits a moment for releases. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.plane.close();
    await this.#hearReleases();
    this.#coordinators.close();
  }

  /** Those under way would end with the connection, and what they free would stay for its time to live. */
  async #hearReleases(): Promise<void> {
    const limit = deadlineSignal(CLOSE_MS);
    await orAborted(Promise.allSettled(this.#releases), limit.signal).catch(() => undefined);
    limit.release();
  }

  #linkLost(link: string, reason: string): void {
    this.links.lost(link);
    for (const listener of [...this.#lostListeners]) listener(link, reason);
  }
}

/**
 * Connects to a cluster. The coordinator is called at the first step, so this succeeds even while the cluster starts.
 *
 * @throws SHAPE_MISMATCH for an owner index outside the owner count, or several owners without a session name; UNSUPPORTED for another route or transport;
 * CONFIG for an address that is none, or beyond loopback without `tls` or `insecure`, TLS files that cannot be used, and a `silentPeerMs`
 * in which no peer could answer.
 */
export async function connect(options: ConnectOptions): Promise<Cluster> {
  const { ownerIndex = 0, ownerCount = 1 } = options;
  if (!Number.isSafeInteger(ownerCount) || ownerCount < 1) {
    throw fieldError('SHAPE_MISMATCH', 'ownerCount', ownerCount, 'an integer of at least 1');
  }
  if (!Number.isSafeInteger(ownerIndex) || ownerIndex < 0 || ownerIndex >= ownerCount) {
    throw fieldError('SHAPE_MISMATCH', 'ownerIndex', ownerIndex, `an integer from 0 to ${ownerCount - 1}`);
  }
  const { route = 'auto' } = options;
  if (!ROUTES.includes(route)) throw fieldError('UNSUPPORTED', 'route', route, `one of ${ROUTES.join(', ')}`);
  const { transport = 'auto' } = options;
  if (!TRANSPORTS.includes(transport)) {
    throw fieldError('UNSUPPORTED', 'transport', transport, `one of ${TRANSPORTS.join(', ')}`);
  }
  const { silentPeerMs = SILENT_PEER_MS } = options;
  if (!Number.isSafeInteger(silentPeerMs) || silentPeerMs < LEAST_SILENT_PEER_MS) {
    const expected = `an integer of at least ${LEAST_SILENT_PEER_MS}`;
    throw fieldError('CONFIG', 'silentPeerMs', silentPeerMs, expected);
  }
  if (ownerCount > 1 && options.session === undefined) {
    throw fieldError('SHAPE_MISMATCH', 'session', undefined, 'a name that all owners of this trainer share');
  }
  const cluster = await Cluster.open({
    address: options.address,
    job: options.job ?? 'default',
    session: options.session ?? randomUUID(),
    ownerIndex,
    ownerCount,
    route,
    transport,
    tls: options.tls ?? null,
    insecure: options.insecure ?? false,
    silentPeerMs,
    sharedBytes: options.sharedBytes ?? SHARED_BYTES,
    deadlineMs: options.deadlineMs ?? 60_000,
    firstContactMs: options.firstContactMs ?? 5_000,
    maxReplays: options.maxReplays ?? Infinity,
    onReplay: options.onReplay ?? (() => undefined),
    onWarning: options.onWarning ?? emitWarning,
  });
  if (options.sharedBytes !== undefined) cluster.warnOfSharedMemory();
  return cluster;
}

function emitWarning({ kind, message }: ClusterWarning): void {
  process.emitWarning(message, { type: 'UlyssesWarning', code: kind });
}
