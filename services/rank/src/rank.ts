import { cpuDevice } from '@ulysses/device';
import { ExchangePlane, type Transport } from '@ulysses/exchange';
import { toUlyssesError, type UlyssesError } from '@ulysses/errors';
import type { Isa } from '@ulysses/native';
import { LeaseKeeper, type MembershipStore } from '@ulysses/rendezvous';
import { PROTOCOL_VERSION, rankService, serve, type RankStatus } from '@ulysses/rpc';
import {
  Metrics,
  advertisedAddress,
  requirePrivate,
  serveMetrics,
  type ConnectionOptions,
  type Logger,
} from '@ulysses/runtime';
import { availableIsa } from './available-isa.js';
import { CoordinatorStream } from './coordinator-stream.js';
import { DeviceTurns } from './device-turns.js';
import { ForwardStore } from './forward-store.js';
import { countSteps, measureRank } from './rank-metrics.js';
import { RankSteps } from './rank-steps.js';

export interface RankOptions {
  readonly member: string;
  /** Where membership is kept; from now on the rank's to close. */
  readonly membership: MembershipStore & { close(): void };
  readonly listen: string;
  /** Where others dial the two ports; null: where they listen. */
  readonly advertise: string | null;
  readonly tensorListen: string;
  readonly tensorAdvertise: string | null;
  readonly transport: Transport;
  /** `host:port` of the port for metrics and probes; null: none. */
  readonly metricsListen: string | null;
  /** Of both ports, and to the coordinator and its peers. */
  readonly connections: ConnectionOptions;
  /** How long a client of its ports may be slow. */
  readonly slowClientMs: number;
  /** Size of the memory that peers of this host read in place. */
  readonly sharedBytes: number;
  readonly threads: number;
  readonly isa: Isa | null;
  readonly storeBytes: number;
  /** Null: no job has less than all of them. */
  readonly storeBytesPerJob: number | null;
  readonly storeTtlMs: number;
  readonly logger: Logger;
  /** How long `close` waits until the coordinator lets this rank go; 0: not at all. */
  readonly drainMs: number;
  /** The coordinator wanted this process to end, and has let it go. */
  readonly onAskedToLeave: () => void;
  /** This process lost its lease and gets none again, however long it waits. */
  readonly onRefused: (error: UlyssesError) => void;
  /** Ends joining. */
  readonly signal: AbortSignal;
}

export interface Rank {
  readonly controlAddress: string;
  readonly tensorAddress: string;
  /** `host:port` of the port for metrics and probes; null: there is none. */
  readonly metricsAddress: string | null;
  /** Index of the lease held now; null while rejoining. */
  readonly rank: number | null;
  /** Drains: running steps end first. Then leaves the cluster and closes both ports. */
  close(graceMs: number): Promise<void>;
}

/** As the health service names it. */
const SERVICE = 'ulysses.v1.RankService';
/** How often handles that outlived their time are looked for. */
const EXPIRY_MS = 5_000;

/** Opens both ports, joins the cluster and serves; resolves when this process has a rank. */
export async function startRank(options: RankOptions): Promise<Rank> {
  const { member, logger, connections } = options;
  requirePrivate('listen', options.listen, connections);
  requirePrivate('tensor-listen', options.tensorListen, connections);
  const isa = availableIsa(options.isa);
  const store = new ForwardStore({
    budgetBytes: options.storeBytes,
    jobBudgetBytes: options.storeBytesPerJob ?? options.storeBytes,
    timeToLiveMs: options.storeTtlMs,
    now: () => performance.now(),
  });
  // Link events only come once a peer is connected, which the stream itself asks for.
  const ends: { stream: CoordinatorStream | null } = { stream: null };
  const plane = await ExchangePlane.open({
    listen: options.tensorListen,
    transport: options.transport,
    ...connections,
    sharedBytes: options.sharedBytes,
    slowPeerMs: options.slowClientMs,
    onLinkLost: (link, reason) => ends.stream?.linkLost(link, reason),
  });
  if (plane.sliceOrderSeed !== null) logger.warn({ member }, 'slices leave shuffled');
  const stream = new CoordinatorStream({
    member,
    plane,
    store,
    logger,
    onSeat: (seat) => {
      if (seat !== null) keeper.sawEpoch(seat.epoch);
      server.setServing(SERVICE, seat !== null);
    },
    onAskedToLeave: options.onAskedToLeave,
  });
  ends.stream = stream;
  const metrics = new Metrics();
  const steps = new RankSteps({
    counts: countSteps(metrics),
    plane,
    device: new DeviceTurns(cpuDevice({ threads: options.threads, isa })),
    store,
    logger,
    onFinished: (step) => {
      stream.finished(step);
    },
    onFailed: (step, error) => {
      stream.failed(step, error);
    },
  });
  stream.attach(steps);

  const listening = plane.address ?? options.tensorListen;
  const tensorAddress = advertisedAddress('tensor-advertise', listening, options.tensorAdvertise);
  const status = (wanted: string): RankStatus => ({
    rank: { rank: keeper.lease?.rank ?? 0, member, controlAddress, tensorAddress },
    ready: keeper.lease !== null && stream.seat !== null,
    stepsRunning: steps.running,
    storeBytes: store.bytes,
    storeBudgetBytes: store.budgetBytes,
    handles: store.handles,
    isa,
    leaseAgeMs: 0,
    traces: wanted === '' ? [] : [steps.traces.find(wanted)].filter((trace) => trace !== null),
  });
  const server = await serve({
    listen: options.listen,
    ...connections,
    slowClientMs: options.slowClientMs,
    services: [
      rankService({
        steps: (commands, context) => stream.serve(commands, context),
        getRankStatus: ({ trace = '' }) => Promise.resolve(status(trace)),
      }),
    ],
  });

  const controlAddress = advertisedAddress('advertise', server.address, options.advertise);
  // Liveness is the process ('' in the health service); readiness is a seat in an epoch.
  server.setServing(SERVICE, false);
  const { membership } = options;
  const closing = new AbortController();
  const keeper = new LeaseKeeper({
    store: membership,
    request: { member, controlAddress, tensorAddress, protocolVersion: PROTOCOL_VERSION },
    logger,
    onLost: () => {
      stream.stopServing();
      if (!stream.leaving) void rejoin();
    },
  });
  async function rejoin(): Promise<void> {
    try {
      const { rank, epoch } = await keeper.join(closing.signal);
      stream.resumeServing();
      logger.info({ member, rank, epoch }, 'rejoined');
    } catch (thrown) {
      if (closing.signal.aborted) return;
      const error = toUlyssesError(thrown);
      logger.error({ member, code: error.code, reason: error.message }, 'rejoining refused');
      options.onRefused(error);
    }
  }
  measureRank(metrics, { plane, store, stream, keeper, stepsRunning: () => steps.running });
  const unjoined = (): string | null => (keeper.lease === null ? 'holds no rank' : null);
  const metricsServer =
    options.metricsListen === null
      ? null
      : await serveMetrics({
          listen: options.metricsListen,
          metrics,
          probes: {
            '/joinedz': unjoined,
            '/readyz': () => unjoined() ?? (stream.seat === null ? 'has no seat in an epoch' : null),
          },
        });
  const expiry = setInterval(() => {
    store.expire();
  }, EXPIRY_MS);
  expiry.unref();

  async function close(graceMs: number): Promise<void> {
    closing.abort();
    clearInterval(expiry);
    if (keeper.lease !== null) await stream.leave(options.drainMs);
    await keeper.close();
    stream.stopServing();
    await server.close(graceMs);
    await plane.close();
    membership.close();
    store.close();
    await metricsServer?.close();
  }

  try {
    await keeper.join(options.signal);
  } catch (error) {
    await close(0);
    throw error;
  }
  return {
    controlAddress,
    tensorAddress,
    metricsAddress: metricsServer?.address ?? null,
    get rank() {
      return keeper.lease?.rank ?? null;
    },
    close,
  };
}
