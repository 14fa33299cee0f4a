import { fileURLToPath } from 'node:url';
import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import type { KvCacheChoice } from '@ulysses/plan';
import { connectCoordinator, connectRendezvous, type RendezvousClient } from '@ulysses/rpc';
import { Deferred, orAborted, type ConnectionOptions, type LogLevel, type Logger } from '@ulysses/runtime';
import { startChild, type Child } from './child.js';
import type { ClusterEvent, RankProcess } from './cluster-event.js';
import { followMembership } from './follow-membership.js';
import { MemberTable } from './member-table.js';
import { RankPool } from './rank-pool.js';
import { superviseRank, type SuperviseOptions } from './supervise-rank.js';

export interface ClusterSettings {
  readonly cpSize: number;
  /** `host:port` of the coordinator; ranks take free ports on the same host. */
  readonly listen: string;
  /** Of every process of the cluster, this one included. */
  readonly connections: Required<ConnectionOptions>;
  readonly gatherSizeCalculator: string;
  /** Of each rank. */
  readonly threads: number;
  readonly kvCachePolicy: KvCacheChoice;
  readonly kvCachePolicyUnaligned: boolean;
  readonly kvCacheBudget: number;
  readonly storeBytes: number;
  readonly storeBytesPerJob: number | null;
  readonly restart: boolean;
  readonly logLevel: LogLevel;
}

export interface LaunchOptions extends ClusterSettings {
  readonly logger: Logger;
  readonly onEvent: (event: ClusterEvent) => void;
}

/** Coordinator and ranks as child processes of this one. */
export interface Cluster {
  /** `host:port` of the coordinator. */
  readonly address: string;
  readonly coordinatorPid: number;
  /** The members now, in rank order. */
  ranks(): readonly RankProcess[];
  /** Rejects when the cluster cannot go on: PEER_LOST. Never resolves. */
  readonly failure: Promise<never>;
  /** Ends every process; resolves when all are gone. */
  stop(): Promise<void>;
}

const COORDINATOR = fileURLToPath(new URL('../../../coordinator/dist/main.js', import.meta.url));
const RANK = fileURLToPath(new URL('../../../rank/dist/main.js', import.meta.url));
const READY_MS = 60_000;
/** A little more than services give themselves; twice of it is below the ten seconds that most supervisors wait. */
const STOP_GRACE_MS = 4_500;
const REVOKE_MS = 1_000;

/**
 * Starts a coordinator and `cpSize` ranks, and keeps them running; resolves when every rank is a member.
 *
 * L1: when this has thrown or `stop` has resolved, no child is left; when this process is killed, they end by themselves.
 * L2: a dead rank is reaped, reported, its lease revoked, and replaced while the cluster has a place for it; a cluster that is
 *     scaled up gets more ranks. A dead coordinator ends the cluster: the membership lived in it.
 * L3: ranks are stopped before the coordinator, which they tell that they leave.
 *
 * @throws CONFIG when a service refuses its configuration, PEER_LOST when one keeps ending, DEADLINE, or what `signal` says
 */
export async function launchCluster(options: LaunchOptions, signal: AbortSignal): Promise<Cluster> {
  signal.throwIfAborted();
  const failure = new Deferred<never>();
  const stopping = new AbortController();
  const coordinator = startCoordinator(options);
  const running: { pool: RankPool | null; follow: Promise<void> } = { pool: null, follow: Promise.resolve() };
  const stop = async (): Promise<void> => {
    stopping.abort(new UlyssesError('CANCELLED', 'the cluster is being stopped'));
    await Promise.all([running.pool?.ended(), running.follow]);
    await coordinator.stop(STOP_GRACE_MS);
  };

  try {
    const address = await orAborted(addressOf(coordinator), signal);
    void coordinator.ended.then(({ reason }) => {
      const message = `the coordinator (pid ${coordinator.pid}) ended: ${reason}`;
      failure.reject(new UlyssesError('PEER_LOST', message));
    });
    const members = new MemberTable(options.onEvent);
    const rendezvous = connectRendezvous(address, options.connections);
    const supervised = superviseOptions(options, members, rendezvous);
    const pool = new RankPool((wanted) =>
      superviseRank({ ...supervised, wanted }, stopping.signal).catch((thrown: unknown) => {
        failure.reject(toUlyssesError(thrown));
      }),
    );
    running.pool = pool;
    pool.resize(options.cpSize);
    const complete = new Deferred();
    running.follow = followMembership(
      connectCoordinator(address, options.connections),
      (membership) => {
        members.update(membership);
        if (!stopping.signal.aborted) pool.resize(membership.cpSize);
        if (membership.complete) complete.resolve();
      },
      options.logger,
      stopping.signal,
    );
    await orAborted(Promise.race([complete.promise, failure.promise]), signal);
    return {
      address,
      coordinatorPid: coordinator.pid,
      ranks: () => members.ranks,
      failure: failure.promise,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function startCoordinator(options: LaunchOptions): Child {
  return startChild('coordinator', COORDINATOR, [
    ...['--rendezvous', 'embedded'],
    ...['--listen', options.listen],
    ...['--advertise', hostOf(options.listen)],
    ...['--context-parallel-size', String(options.cpSize)],
    ...['--gather-size-calculator', options.gatherSizeCalculator],
    ...['--context-parallel-kv-cache-policy', options.kvCachePolicy],
    options.kvCachePolicyUnaligned ? '--kv-cache-policy-unaligned' : '--no-kv-cache-policy-unaligned',
    ...['--kv-cache-budget', `${options.kvCacheBudget}B`],
    ...connectionFlags(options),
    ...['--log-level', options.logLevel],
  ]);
}

/** What the processes of the cluster share. Flags, because a variable of the launcher may say something else. */
function connectionFlags({ connections }: LaunchOptions): string[] {
  const { tls, insecure, silentPeerMs } = connections;
  const flags = [insecure ? '--insecure' : '--no-insecure', '--silent-peer', `${silentPeerMs}ms`];
  if (tls === null) return flags;
  const files = ['--tls-cert', tls.cert, '--tls-key', tls.key, '--tls-ca', tls.ca];
  const name = tls.serverName ?? null;
  return [...flags, ...files, ...(name === null ? [] : ['--tls-name', name])];
}

function hostOf(listen: string): string {
  return listen.replace(/:\d+$/, '');
}

async function addressOf(coordinator: Child): Promise<string> {
  const { controlAddress } = await coordinator.ready(READY_MS);
  if (typeof controlAddress === 'string') return controlAddress;
  throw new UlyssesError('INVARIANT', 'the coordinator says that it is ready, but not where');
}

function superviseOptions(
  options: LaunchOptions,
  members: MemberTable,
  rendezvous: RendezvousClient,
): Omit<SuperviseOptions, 'wanted'> {
  const { listen, threads, storeBytes, storeBytesPerJob, logLevel, restart, logger } = options;
  // Every flag that a variable of the launcher could also set is given: ULYSSES_LISTEN is the coordinator's port.
  const freePort = listen.replace(/:\d+$/, ':0');
  const common = [
    ...['--rendezvous', rendezvous.address],
    ...['--listen', freePort],
    ...['--advertise', hostOf(listen)],
    ...['--tensor-listen', freePort],
    ...['--tensor-advertise', hostOf(listen)],
    ...connectionFlags(options),
    // The cluster ends as a whole; ranks need not wait for each other's steps.
    ...['--drain', '0s'],
    ...['--threads', String(threads)],
    ...['--store-bytes', `${storeBytes}B`],
    ...(storeBytesPerJob === null ? [] : ['--store-bytes-per-job', `${storeBytesPerJob}B`]),
    ...['--log-level', logLevel],
  ];
  return {
    start: () => {
      const member = members.newName();
      const child = startChild(`rank process ${member}`, RANK, [...common, '--member', member]);
      members.started({ member, pid: child.pid });
      return { member, child };
    },
    revoke: async (member) => {
      try {
        await rendezvous.revoke({ member }, { deadlineMs: REVOKE_MS });
      } catch (thrown) {
        const { code, message } = toUlyssesError(thrown);
        // Its lease ends by itself, later.
        logger.warn({ member, code, reason: message }, 'revoking a lease failed');
      }
    },
    onJoined: (rank, replaces) => {
      members.joined(rank, replaces);
    },
    onLost: (rank, reason) => {
      members.lost(rank, reason);
    },
    restart,
    readyMs: READY_MS,
    stopGraceMs: STOP_GRACE_MS,
    logger,
  };
}
