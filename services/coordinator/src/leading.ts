import type { ClusterStore } from '@ulysses/rendezvous';
import type { UlyssesError } from '@ulysses/errors';
import type { Logger } from '@ulysses/runtime';
import type { Calculators } from './calculators.js';
import { Fleet } from './fleet.js';
import type { KvCacheDefaults } from './kv-cache.js';
import { planStep } from './plan-step.js';
import { StepRegistry } from './step-registry.js';

export interface LeadingOptions {
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
  readonly #stop = new AbortController();

  constructor({ store, calculators, kvCache, stepDeadlineMs, logger }: LeadingOptions) {
    const fleet = new Fleet({ logger, enterTimeoutMs: ENTER_TIMEOUT_MS });
    this.fleet = fleet;
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
    this.fleet.close();
  }

  async #followMembership(store: ClusterStore): Promise<void> {
    const { signal } = this.#stop;
    try {
      for await (const membership of store.watch(signal)) {
        if (signal.aborted) break;
        this.fleet.update(membership);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}
