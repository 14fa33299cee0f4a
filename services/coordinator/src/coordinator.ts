import { randomUUID } from 'node:crypto';
import { UlyssesError } from '@ulysses/errors';
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
import { advertisedAddress, delay, type Logger } from '@ulysses/runtime';
import type { Calculators } from './calculators.js';
import { clusterStatus } from './cluster-status.js';
import type { ElasticitySettings } from './elasticity.js';
import type { KvCacheDefaults } from './kv-cache.js';
import { Leading } from './leading.js';

export interface CoordinatorOptions extends ElasticitySettings {
  readonly listen: string;
  /** Where trainers dial the port; null: where it listens. */
  readonly advertise: string | null;
  readonly cpSize: number;
  readonly stepDeadlineMs: number;
  readonly calculators: Calculators;
  readonly kvCache: KvCacheDefaults;
  /** Null: the embedded rendezvous, and nobody else leads. */
  readonly redis: { readonly connection: RedisConnection; readonly cluster: string } | null;
  readonly logger: Logger;
}

export interface Coordinator {
  /** `host:port` of the control port, as others dial it. */
  readonly address: string;
  /** Ends running steps, then the server. */
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
  const { redis, logger, kvCache } = options;
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
        getStatus: async () => await clusterStatus(leading(), store),
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
  const lead = (): void => {
    state.leading = new Leading({ ...options, store });
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
  if (lease === null) lead();
  // A coordinator that may not say how many ranks there are, because the members speak another version, may not lead.
  const leasing =
    store instanceof RedisStore
      ? configure(store, options, stop.signal).then(() => lease?.run(stop.signal))
      : Promise.resolve();

  return {
    address,
    async close(graceMs) {
      // With Redis another may lead next, or this one again: worth repeating.
      const code = redis === null ? 'CANCELLED' : 'PEER_LOST';
      const stopping = new UlyssesError(code, 'the coordinator is stopping');
      stop.abort(stopping);
      leadNoMore(stopping);
      await leasing;
      await server.close(graceMs);
      store.close();
    },
  };
}

/** Tells Redis the size and the lease, as soon as it can be reached. */
async function configure(
  store: RedisStore,
  { cpSize, leaseMs, logger }: CoordinatorOptions,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await store.configure({ cpSize, leaseMs }, { signal });
      return;
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      logger.warn({ reason }, 'redis not configured');
      await delay(CONFIGURE_PAUSE_MS, signal).catch(() => undefined);
    }
  }
}
