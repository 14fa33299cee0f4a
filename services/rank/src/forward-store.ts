import { UlyssesError } from '@ulysses/errors';
import {
  forwardBytes,
  freeMemory,
  stepIdentity,
  type ForwardMemory,
  type UnitExchange,
} from '@ulysses/exchange';
import type { StepKey } from '@ulysses/native';

/** What a committed forward left behind for its backward. */
export interface KeptForward {
  readonly key: StepKey;
  readonly exchange: UnitExchange;
  readonly memory: ForwardMemory;
}

export interface ForwardStoreOptions {
  readonly budgetBytes: number;
  readonly timeToLiveMs: number;
  /** Monotonic clock. */
  readonly now: () => number;
}

/**
 * Forwards kept for their backward, by step identity (one attempt at a time).
 *
 * S1: bytes are reserved before a forward is voted for, so within its time to live a kept forward is found.
 * S2: reserved plus kept bytes never exceed the budget.
 */
export class ForwardStore {
  readonly #options: ForwardStoreOptions;
  readonly #kept = new Map<string, KeptForward & { expiresAt: number }>();
  #reservedBytes = 0;
  #keptBytes = 0;

  constructor(options: ForwardStoreOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#reservedBytes + this.#keptBytes;
  }

  get budgetBytes(): number {
    return this.#options.budgetBytes;
  }

  get handles(): number {
    return this.#kept.size;
  }

  /** Reserves room for a forward's memory; OVERLOADED says how much there is. Pair with `keep` or `cancel`. */
  reserve(exchange: UnitExchange): void {
    this.expire();
    const bytes = forwardBytes(exchange.places);
    const free = this.#options.budgetBytes - this.bytes;
    if (bytes > free) {
      throw new UlyssesError(
        'OVERLOADED',
        `the store has ${free} of ${this.#options.budgetBytes} bytes free, this forward needs ${bytes}; ` +
          'release handles, keep nothing (keep: none), or raise --store-bytes',
        { field: 'store_bytes', value: String(bytes), expected: `at most ${free}` },
      );
    }
    this.#reservedBytes += bytes;
  }

  cancel(exchange: UnitExchange): void {
    this.#reservedBytes -= forwardBytes(exchange.places);
  }

  /** Turns a reservation into a kept forward; an older attempt of the same step is freed. */
  keep(forward: KeptForward): void {
    this.release(forward.key);
    this.#reservedBytes -= forwardBytes(forward.exchange.places);
    this.#keptBytes += forwardBytes(forward.exchange.places);
    this.#kept.set(stepIdentity(forward.key), {
      ...forward,
      expiresAt: this.#options.now() + this.#options.timeToLiveMs,
    });
  }

  /** The kept forward of exactly this attempt, under exactly this plan; HANDLE_GONE otherwise. Its time starts anew. */
  take(key: StepKey, planId: string): KeptForward {
    this.expire();
    const kept = this.#kept.get(stepIdentity(key));
    if (kept === undefined || kept.key.attempt !== key.attempt || kept.exchange.plan.planId !== planId) {
      throw new UlyssesError('HANDLE_GONE', 'the forward is no longer stored; repeat it from its inputs', {
        field: 'forward',
        value: `call ${key.call} attempt ${key.attempt}`,
        expected: 'a forward that this rank still keeps',
      });
    }
    kept.expiresAt = this.#options.now() + this.#options.timeToLiveMs;
    return kept;
  }

  release(key: StepKey): void {
    const identity = stepIdentity(key);
    const kept = this.#kept.get(identity);
    if (kept === undefined) return;
    this.#kept.delete(identity);
    this.#keptBytes -= forwardBytes(kept.exchange.places);
    freeMemory(kept.memory);
  }

  /** Frees what outlived its time; called before every decision and by a timer. */
  expire(): void {
    const now = this.#options.now();
    for (const kept of this.#kept.values()) {
      if (kept.expiresAt <= now) this.release(kept.key);
    }
  }

  close(): void {
    for (const kept of [...this.#kept.values()]) this.release(kept.key);
  }
}
