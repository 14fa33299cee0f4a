import { cpuDevice } from '@ulysses/device';
import { ExchangePlane, type Transport } from '@ulysses/exchange';
import { fieldError } from '@ulysses/errors';
import { ISAS, detectIsa, type Isa } from '@ulysses/native';
import { LeaseKeeper, type MembershipStore } from '@ulysses/rendezvous';
import { PROTOCOL_VERSION, rankService, serve, type RankStatus } from '@ulysses/rpc';
import { advertisedAddress, type Logger } from '@ulysses/runtime';
import { CoordinatorStream } from './coordinator-stream.js';
import { ForwardStore } from './forward-store.js';
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
  readonly threads: number;
  readonly isa: Isa | null;
  readonly storeBytes: number;
  /** Null: no job has less than all of them. */
  readonly storeBytesPerJob: number | null;
  readonly storeTtlMs: number;
  readonly logger: Logger;
  /** How long `close` waits until the coordinator lets this rank go; 0: not at all. */
  readonly drainMs: number;
  /** The coordinator wants this process to end. */
  readonly onAskedToLeave: () => void;
  /** Ends joining. */
  readonly signal: AbortSignal;
}

export interface Rank {
  readonly controlAddress: string;
  readonly tensorAddress: string;
  /** Index of the lease held now; null while rejoining. */
  readonly rank: number | null;
  /** Drains: running steps end first. Then leaves the cluster and closes both ports. */
  close(graceMs: number): Promise<void>;
}

/** The instruction set asked for, or the best one. ISAS goes from the widest down, and a machine has all below its best. */
function availableIsa(asked: Isa | null): Isa {
  const best = detectIsa();
  if (asked === null) return best;
  const available = ISAS.slice(ISAS.indexOf(best));
  if (available.includes(asked)) return asked;
  throw fieldError('CONFIG', 'isa', asked, `one that this machine has: ${available.join(', ')}`);
}

/** As the health service names it. */
const SERVICE = 'ulysses.v1.RankService';
/** How often handles that outlived their time are looked for. */
const EXPIRY_MS = 5_000;

/** Opens both ports, joins the cluster and serves; resolves when this process has a rank. */
export async function startRank(options: RankOptions): Promise<Rank> {
  const { member, logger } = options;
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
  const steps = new RankSteps({
    plane,
    device: cpuDevice({ threads: options.threads, isa }),
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
  const status = (): RankStatus => ({
    rank: { rank: keeper.lease?.rank ?? 0, member, controlAddress, tensorAddress },
    ready: keeper.lease !== null && stream.seat !== null,
    stepsRunning: steps.running,
    storeBytes: store.bytes,
    storeBudgetBytes: store.budgetBytes,
    handles: store.handles,
    isa,
    leaseAgeMs: 0,
  });
  const server = await serve({
    listen: options.listen,
    services: [
      rankService({
        steps: (commands, context) => stream.serve(commands, context),
        getRankStatus: () => Promise.resolve(status()),
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
      void rejoin();
    },
  });
  async function rejoin(): Promise<void> {
    stream.resumeServing();
    const lease = await keeper.join(closing.signal).catch(() => null);
    if (lease !== null) logger.info({ member, rank: lease.rank, epoch: lease.epoch }, 'rejoined');
  }
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
    get rank() {
      return keeper.lease?.rank ?? null;
    },
    close,
  };
}
