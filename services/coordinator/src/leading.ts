import type { ClusterStore } from '@ulysses/rendezvous';
import type { UlyssesError } from '@ulysses/errors';
import type { Logger } from '@ulysses/runtime';
import type { Calculators } from './calculators.js';
import { Elasticity, type ElasticitySettings } from './elasticity.js';
import { Fleet } from './fleet.js';
import type { KvCacheDefaults } from './kv-cache.js';
import { planStep } from './plan-step.js';
import { StepRegistry } from './step-registry.js';

export interface LeadingOptions extends ElasticitySettings {
  readonly store: ClusterStore;
  readonly calculators: Calculators;
  readonly kvCache: KvCacheDefaults;
  readonly stepDeadlineMs: number;
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
    const { store, calculators, kvCache, stepDeadlineMs, drainMs, logger } = options;
    const fleet = new Fleet({
      logger,
      enterTimeoutMs: ENTER_TIMEOUT_MS,
      drainMs,
      onLeaving: (rank) => void this.elasticity.leaves(rank),
    });
    this.fleet = fleet;
    this.elasticity = new Elasticity({ ...options, fleet });
    this.steps = new StepRegistry({
      run: (attempt) => planStep(attempt, fleet, calculators, kvCache),
      defaultDeadlineMs: stepDeadlineMs,
      rememberMs: REMEMBER_STEPS_MS,
    });
    void this.#followMembership(store);
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
