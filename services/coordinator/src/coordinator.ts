import { EmbeddedStore, rendezvousHandlers, watchMembershipHandler } from '@ulysses/rendezvous';
import {
  coordinatorService,
  rendezvousService,
  serve,
  type ClusterStatus,
  type ControlServer,
  type PlanStepUpdate,
  type RankAddress,
  type RankStatus,
} from '@ulysses/rpc';
import type { Logger } from '@ulysses/runtime';
import type { Calculators } from './calculators.js';
import { Fleet } from './fleet.js';
import type { KvCacheDefaults } from './kv-cache.js';
import { planStep } from './plan-step.js';
import { StepRegistry } from './step-registry.js';

export interface CoordinatorOptions {
  readonly listen: string;
  readonly cpSize: number;
  readonly leaseMs: number;
  readonly stepDeadlineMs: number;
  readonly calculators: Calculators;
  readonly kvCache: KvCacheDefaults;
  readonly logger: Logger;
}

export interface Coordinator {
  /** `host:port` of the control port. */
  readonly address: string;
  /** Ends running steps, then the server. */
  close(graceMs: number): Promise<void>;
}

const ENTER_TIMEOUT_MS = 5_000;
const REMEMBER_STEPS_MS = 60_000;
const RANK_STATUS_MS = 1_000;

/** Starts the control port: agreement and plans for trainers, the embedded rendezvous for ranks. */
export async function startCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { logger, calculators } = options;
  const store = new EmbeddedStore({ cpSize: options.cpSize, leaseMs: options.leaseMs });
  const fleet = new Fleet({ logger, enterTimeoutMs: ENTER_TIMEOUT_MS });
  const steps = new StepRegistry({
    run: (attempt) => planStep(attempt, fleet, calculators, options.kvCache),
    defaultDeadlineMs: options.stepDeadlineMs,
    rememberMs: REMEMBER_STEPS_MS,
  });
  const stop = new AbortController();
  const { policy, unaligned } = options.kvCache;
  if ((policy === 'half' || policy === 'full') && !unaligned) {
    logger.warn({ policy }, 'kv-cache policy aligns every exchange');
  }

  const server: ControlServer = await serve({
    listen: options.listen,
    services: [
      coordinatorService({
        async *planStep(request, { signal, deadlineMs }): AsyncGenerator<PlanStepUpdate> {
          const ticket = steps.join(request, signal, deadlineMs);
          yield await ticket.planned;
          await ticket.committed;
          yield { kind: 'committed' };
        },
        settleStep: (request) => Promise.resolve({ committed: steps.settle(request) }),
        release({ step }) {
          fleet.release(step);
          return Promise.resolve({});
        },
        watchMembership: watchMembershipHandler(store, stop.signal),
        getStatus: () => clusterStatus(fleet, steps, store),
      }),
      rendezvousService(rendezvousHandlers(store)),
    ],
  });
  void followMembership(store, fleet, stop.signal);

  return {
    address: server.address,
    async close(graceMs) {
      stop.abort();
      fleet.close();
      await server.close(graceMs);
      store.close();
    },
  };
}

async function followMembership(store: EmbeddedStore, fleet: Fleet, signal: AbortSignal): Promise<void> {
  try {
    for await (const membership of store.watch(signal)) fleet.update(membership);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function clusterStatus(
  fleet: Fleet,
  steps: StepRegistry,
  store: EmbeddedStore,
): Promise<ClusterStatus> {
  const { epoch, cpSize, members } = store.membership;
  const ages = new Map(store.leaseAges().map(({ member, ageMs }) => [member, Math.round(ageMs)]));
  return {
    epoch,
    cpSize,
    complete: fleet.readyEpoch !== null,
    ranks: await Promise.all(
      members.map(async (rank) => ({
        ...(await rankStatus(fleet, rank)),
        rank,
        leaseAgeMs: ages.get(rank.member) ?? 0,
      })),
    ),
    stepsRunning: steps.running,
    stepsCommitted: steps.committed,
    stepsFailed: steps.failed,
  };
}

/** What the rank says of itself; a rank that does not answer is not ready. */
async function rankStatus(fleet: Fleet, rank: RankAddress): Promise<RankStatus> {
  const silent = {
    rank,
    ready: false,
    stepsRunning: 0,
    storeBytes: 0,
    storeBudgetBytes: 0,
    handles: 0,
    isa: '',
    leaseAgeMs: 0,
  };
  const client = fleet.clientOf(rank);
  if (client === null) return silent;
  return await client.getRankStatus({}, { deadlineMs: RANK_STATUS_MS }).catch(() => silent);
}
