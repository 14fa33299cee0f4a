import type { ClusterStore } from '@ulysses/rendezvous';
import type { UlyssesError } from '@ulysses/errors';
import { KnownPlans } from '@ulysses/plan';
import type { ConnectionOptions, Logger } from '@ulysses/runtime';
import type { Attempt } from './attempt.js';
import type { Calculators } from './calculators.js';
import { Elasticity, type ElasticitySettings } from './elasticity.js';
import { Fleet } from './fleet.js';
import type { KvCacheDefaults } from './kv-cache.js';
import { LegalSizes } from './legal-sizes.js';
import { planStep } from './plan-step.js';
import { StepRegistry } from './step-registry.js';

export interface LeadingOptions extends ElasticitySettings {
  readonly store: ClusterStore;
  readonly calculators: Calculators;
  readonly kvCache: KvCacheDefaults;
  readonly stepDeadlineMs: number;
  /** Whose steps are taken; null: of any name. */
  readonly jobs: readonly string[] | null;
  readonly term: number;
  /** A rank obeys a later leader. */
  readonly onDeposed: (term: number) => void;
  readonly onStepEnded: (attempt: Attempt) => void;
  /** To the ranks. */
  readonly connections: ConnectionOptions;
  readonly logger: Logger;
}

const ENTER_TIMEOUT_MS = 5_000;
const REMEMBER_STEPS_MS = 60_000;

/** What a coordinator has while it leads: the command streams to the ranks, and the steps. Ended once, never resumed. */
export class Leading {
  readonly fleet: Fleet;
  readonly steps: StepRegistry;
  readonly elasticity: Elasticity;
  readonly #stop = new AbortController();

  constructor(options: LeadingOptions) {
    const { store, calculators, kvCache, stepDeadlineMs, onStepEnded, drainMs, connections, logger } =
      options;
    const sizes = new LegalSizes();
    const plans = new KnownPlans();
    const fleet = new Fleet({
      logger,
      connections,
      term: options.term,
      onDeposed: options.onDeposed,
      enterTimeoutMs: ENTER_TIMEOUT_MS,
      drainMs,
      onLeaving: (rank) => void this.elasticity.leaves(rank),
    });
    this.fleet = fleet;
    this.elasticity = new Elasticity({ ...options, fleet, sizes });
    this.steps = new StepRegistry({
      run: (attempt) => planStep(attempt, fleet, calculators, kvCache, plans),
      onEnded: (attempt) => {
        if (attempt.phase === 'committed') sizes.committed(attempt.key.job, attempt.alignedHeads);
        onStepEnded(attempt);
      },
      jobs: options.jobs,
      defaultDeadlineMs: stepDeadlineMs,
      rememberMs: REMEMBER_STEPS_MS,
    });
    void this.#followMembership(store);
  }

  /** Lets the steps of the ranks end, up to `drainMs`, and tells ranks how they ended. All other steps end now, with `cause`. */
  async drain(drainMs: number, cause: UlyssesError): Promise<void> {
    this.steps.refuse(cause);
    await this.fleet.finish(drainMs);
  }

  /** Ends the steps with `cause` and the streams. */
  end(cause: UlyssesError): void {
    this.#stop.abort(cause);
    this.steps.failAll(cause);
    this.elasticity.close();
    this.fleet.close();
  }

  async #followMembership(store: ClusterStore): Promise<void> {
    const { signal } = this.#stop;
    try {
      for await (const membership of store.watch(signal)) {
        if (signal.aborted) break;
        this.fleet.update(membership);
        this.elasticity.update(membership);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}
