import { randomUUID } from 'node:crypto';
import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import {
  EmbeddedStore,
  LeaderLease,
  RedisStore,
  rendezvousHandlers,
  watchMembershipHandler,
  type ClusterStore,
  type RedisConnection,
} from '@ulysses/rendezvous';
import {
  coordinatorService,
  rendezvousService,
  serve,
  type ControlServer,
  type PlanStepUpdate,
} from '@ulysses/rpc';
import {
  Metrics,
  advertisedAddress,
  delay,
  requirePrivate,
  serveMetrics,
  type ConnectionOptions,
  type Logger,
} from '@ulysses/runtime';
import type { Calculators } from './calculators.js';
import { clusterStatus } from './cluster-status.js';
import { measureCoordinator } from './coordinator-metrics.js';
import type { ElasticitySettings } from './elasticity.js';
import type { KvCacheDefaults } from './kv-cache.js';
import { Leading } from './leading.js';

export interface CoordinatorOptions extends ElasticitySettings {
  readonly listen: string;
  /** Where trainers dial the port; null: where it listens. */
  readonly advertise: string | null;
  /** `host:port` of the port for metrics and probes; null: none. */
  readonly metricsListen: string | null;
  /** Of its port, and to the ranks. */
  readonly connections: ConnectionOptions;
  /** How long a client of its port may be slow. */
  readonly slowClientMs: number;
  readonly cpSize: number;
  readonly stepDeadlineMs: number;
  /** Whose steps are taken; null: of any name. */
  readonly jobs: readonly string[] | null;
  readonly calculators: Calculators;
  readonly kvCache: KvCacheDefaults;
  /** Null: the embedded rendezvous, and nobody else leads. */
  readonly redis: { readonly connection: RedisConnection; readonly cluster: string } | null;
  readonly logger: Logger;
  /** The members in Redis speak another protocol version: this process can never lead them. */
  readonly onRefused: (error: UlyssesError) => void;
}

export interface Coordinator {
  /** `host:port` of the control port, as others dial it. */
  readonly address: string;
  /** `host:port` of the port for metrics and probes; null: there is none. */
  readonly metricsAddress: string | null;
  /** Lets running steps end, up to the drain time, gives the leadership up, and then ends the server. */
  close(graceMs: number): Promise<void>;
}

/** As the health service names it. */
const SERVICE = 'ulysses.v1.CoordinatorService';
const CONFIGURE_PAUSE_MS = 500;

/**
 * Starts the control port: agreement and plans for trainers, the rendezvous for ranks. With Redis several coordinators may
 * serve one cluster: one leads, by lease, and the others send whoever asks to it.
 */
export async function startCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { redis, logger, kvCache, connections } = options;
  requirePrivate('listen', options.listen, connections);
  const store: ClusterStore = redis === null ? new EmbeddedStore(options) : new RedisStore(redis);
  const stop = new AbortController();
  const state: { leading: Leading | null } = { leading: null };
  const leading = (): Leading => {
    if (state.leading !== null) return state.leading;
    const leader = lease?.leader?.address;
    const message = `this coordinator does not lead; ${leader ?? 'nobody'} does`;
    throw new UlyssesError('PEER_LOST', message, leader === undefined ? { field: 'leader' } : { leader });
  };
  if ((kvCache.policy === 'half' || kvCache.policy === 'full') && !kvCache.unaligned) {
    logger.warn({ policy: kvCache.policy }, 'kv-cache policy aligns every exchange');
  }

  const server: ControlServer = await serve({
    listen: options.listen,
    ...connections,
    slowClientMs: options.slowClientMs,
    services: [
      coordinatorService({
        async *planStep(request, { signal, deadlineMs }): AsyncGenerator<PlanStepUpdate> {
          const ticket = leading().steps.join(request, signal, deadlineMs);
          yield await ticket.planned;
          await ticket.committed;
          yield { kind: 'committed' };
        },
        settleStep: async (request) => ({ committed: leading().steps.settle(request) }),
        async release({ step }) {
          leading().fleet.release(step);
          return {};
        },
        watchMembership: watchMembershipHandler(store, stop.signal),
        getStatus: async ({ trace = '' }) => await clusterStatus(leading(), store, trace),
        async scale({ cpSize }) {
          await leading().elasticity.scale(cpSize);
          return {};
        },
        async drain({ rank }, { signal }) {
          await leading().elasticity.drain(rank, signal);
          return {};
        },
      }),
      rendezvousService(rendezvousHandlers(store)),
    ],
  });
  const address = advertisedAddress('advertise', server.address, options.advertise);
  // Liveness is the process ('' in the health service); readiness is to lead.
  server.setServing(SERVICE, false);
  const metrics = new Metrics();
  const onStepEnded = measureCoordinator(metrics, {
    store,
    leading: () => state.leading,
    leaseAgeMs: () => lease?.ageMs ?? null,
    term: () => lease?.term ?? 0,
  });
  const lead = (term: number): void => {
    const onDeposed = (newest: number): void => {
      if (lease !== null) {
        lease.sawTerm(newest);
        return;
      }
      // With the embedded rendezvous nobody else can lead: whoever said so is gone.
      leadNoMore(new UlyssesError('PEER_LOST', `a rank obeys term ${newest}`, { field: 'leader' }));
      lead(newest + 1);
    };
    state.leading = new Leading({ ...options, store, term, onStepEnded, onDeposed });
    server.setServing(SERVICE, true);
  };
  const leadNoMore = (cause: UlyssesError): void => {
    state.leading?.end(cause);
    state.leading = null;
    server.setServing(SERVICE, false);
  };
  const lease =
    redis === null
      ? null
      : new LeaderLease({
          ...options,
          ...redis,
          id: randomUUID(),
          address,
          onLead: lead,
          onLost: leadNoMore,
        });
  if (lease === null) lead(0);
  const leasing =
    store instanceof RedisStore
      ? configure(store, options, stop.signal).then((may) => (may ? lease?.run(stop.signal) : undefined))
      : Promise.resolve();

  const metricsServer =
    options.metricsListen === null
      ? null
      : await serveMetrics({
          listen: options.metricsListen,
          metrics,
          probes: {
            '/readyz': () =>
              state.leading === null ? `does not lead; ${lease?.leader?.address ?? 'nobody'} does` : null,
          },
        });
  return {
    address,
    metricsAddress: metricsServer?.address ?? null,
    async close(graceMs) {
      // With Redis another may lead next, or this one again: worth repeating.
      const code = redis === null ? 'CANCELLED' : 'PEER_LOST';
      const stopping = new UlyssesError(code, 'the coordinator is stopping', {
        field: 'leader',
        value: 'stopping',
        expected: 'a coordinator that leads on',
      });
      server.setServing(SERVICE, false);
      await state.leading?.drain(options.drainMs, stopping);
      stop.abort(stopping);
      leadNoMore(stopping);
      await leasing;
      await server.close(graceMs);
      store.close();
      await metricsServer?.close();
    },
  };
}

/**
 * Tells Redis the size and the lease, as soon as it can be reached. False: this coordinator may not, because the members speak
 * another version, and so may not lead them.
 */
async function configure(
  store: RedisStore,
  { cpSize, leaseMs, logger, onRefused }: CoordinatorOptions,
  signal: AbortSignal,
): Promise<boolean> {
  while (!signal.aborted) {
    try {
      await store.configure({ cpSize, leaseMs }, { signal });
      return true;
    } catch (thrown) {
      const error = toUlyssesError(thrown);
      const { code, message: reason } = error;
      if (code === 'UNSUPPORTED') {
        logger.error({ code, reason }, 'leading refused');
        onRefused(error);
        return false;
      }
      logger.warn({ code, reason }, 'redis not configured');
      await delay(CONFIGURE_PAUSE_MS, signal).catch(() => undefined);
    }
  }
  return false;
}
