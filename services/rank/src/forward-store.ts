import { invariant, UlyssesError } from '@ulysses/errors';
import { freeMemory, stepIdentity, type KeptMemory, type UnitExchange } from '@ulysses/exchange';
import type { Region, StepKey } from '@ulysses/native';
import type { KvCachePolicy } from '@ulysses/plan';

/** What a committed forward left behind for its backward. */
export interface KeptForward {
  readonly key: StepKey;
  readonly exchange: UnitExchange;
  readonly policy: KvCachePolicy;
  readonly memory: KeptMemory;
  /** Of `memory`, as reserved. */
  readonly bytes: number;
}

export interface ForwardStoreOptions {
  /** Most bytes of all jobs together, and of each. */
  readonly budgetBytes: number;
  readonly jobBudgetBytes: number;
  readonly timeToLiveMs: number;
  /** Monotonic clock. */
  readonly now: () => number;
}

interface Entry {
  readonly forward: KeptForward;
  expiresAt: number;
  /** Running backwards that read it. */
  readers: number;
  released: boolean;
}

interface Usage {
  bytes: number;
  forwards: number;
}

/**
 * Forwards kept for their backward, by step identity (one attempt at a time).
 *
 * S1: bytes are reserved before a forward is voted for, so within its time to live a kept forward is found.
 * S2: reserved plus kept bytes never exceed the budget, nor those of one job the budget of a job.
 * S3: what a running backward reads is freed only after it, whoever released it or however long it runs.
 */
export class ForwardStore {
  readonly #options: ForwardStoreOptions;
  readonly #kept = new Map<string, Entry>();
  /** Reserved and kept together. */
  readonly #jobs = new Map<string, Usage>();
  readonly #sessions = new Map<string, Usage>();
  #bytes = 0;

  constructor(options: ForwardStoreOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get budgetBytes(): number {
    return this.#options.budgetBytes;
  }

  get handles(): number {
    return this.#kept.size;
  }

  /** Reserves room for what is kept of a forward; OVERLOADED says how much there is. Pair with `keep` or `cancel`. */
  reserve(key: StepKey, bytes: number): void {
    this.expire();
    const { budgetBytes, jobBudgetBytes } = this.#options;
    const freeOfAll = budgetBytes - this.#bytes;
    const freeOfJob = jobBudgetBytes - (this.#jobs.get(key.job)?.bytes ?? 0);
    const free = Math.min(freeOfAll, freeOfJob);
    if (bytes > free) {
      const [whose, budget, flag] =
        freeOfJob < freeOfAll
          ? [`job ${key.job}`, jobBudgetBytes, '--store-bytes-per-job']
          : ['the store', budgetBytes, '--store-bytes'];
      // Repeating helps when others release theirs; not when the caller itself would have to, or it never fits.
      const own = this.#sessions.get(sessionOf(key))?.forwards ?? 0;
      const hopeless = own > 0 || bytes > Math.min(budgetBytes, jobBudgetBytes);
      throw new UlyssesError(
        'OVERLOADED',
        `${whose} has ${free} of ${budget} bytes free, this forward needs ${bytes}; ` +
          `release handles, keep less (keep: recompute or none, a KV-cache policy), or raise ${flag}`,
        {
          field: 'store_bytes',
          value: String(bytes),
          expected: `at most ${free}`,
          ...(hopeless ? { remedy: 'recompute' } : {}),
        },
      );
    }
    this.#account(key, bytes, 1);
  }

  cancel(key: StepKey, bytes: number): void {
    this.#account(key, -bytes, -1);
  }

  /** Turns a reservation into a kept forward; an older attempt of the same step is freed. */
  keep(forward: KeptForward): void {
    const bytes = Object.values<Region>(forward.memory).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    invariant(bytes === forward.bytes, 'a forward keeps other memory than was reserved', {
      field: 'bytes',
      value: bytes,
      expected: String(forward.bytes),
    });
    this.release(forward.key);
    const expiresAt = this.#expiry();
    this.#kept.set(stepIdentity(forward.key), { forward, expiresAt, readers: 0, released: false });
  }

  /**
   * The kept forward of exactly this attempt, under exactly this plan and policy; HANDLE_GONE otherwise. Its time starts anew.
   * Nothing frees it before `done` has been called.
   */
  take(key: StepKey, planId: string, policy: KvCachePolicy): { forward: KeptForward; done: () => void } {
    this.expire();
    const entry = this.#kept.get(stepIdentity(key));
    const forward = entry?.forward;
    if (
      entry === undefined ||
      forward?.key.attempt !== key.attempt ||
      forward.exchange.plan.planId !== planId ||
      forward.policy !== policy
    ) {
      throw new UlyssesError('HANDLE_GONE', 'the forward is no longer stored; repeat it from its inputs', {
        field: 'forward',
        value: `call ${key.call} attempt ${key.attempt}`,
        expected: 'a forward that this rank still keeps',
      });
    }
    entry.readers++;
    return {
      forward,
      done: () => {
        entry.readers--;
        entry.expiresAt = this.#expiry();
        if (entry.released && entry.readers === 0) this.#free(entry);
      },
    };
  }

  release(key: StepKey): void {
    const identity = stepIdentity(key);
    const entry = this.#kept.get(identity);
    if (entry === undefined) return;
    this.#kept.delete(identity);
    entry.released = true;
    if (entry.readers === 0) this.#free(entry);
  }

  /** Frees what outlived its time; called before every decision and by a timer. */
  expire(): void {
    const now = this.#options.now();
    for (const { forward, expiresAt, readers } of this.#kept.values()) {
      if (readers === 0 && expiresAt <= now) this.release(forward.key);
    }
  }

  close(): void {
    for (const { forward } of [...this.#kept.values()]) this.release(forward.key);
  }

  #free({ forward }: Entry): void {
    this.#account(forward.key, -forward.bytes, -1);
    freeMemory(forward.memory);
  }

  #expiry(): number {
    return this.#options.now() + this.#options.timeToLiveMs;
  }

  #account(key: StepKey, bytes: number, forwards: 1 | -1): void {
    this.#bytes += bytes;
    add(this.#jobs, key.job, bytes, forwards);
    add(this.#sessions, sessionOf(key), bytes, forwards);
  }
}

function sessionOf({ job, session }: StepKey): string {
  return JSON.stringify([job, session]);
}

function add(usages: Map<string, Usage>, name: string, bytes: number, forwards: number): void {
  const before = usages.get(name) ?? { bytes: 0, forwards: 0 };
  const after = { bytes: before.bytes + bytes, forwards: before.forwards + forwards };
  if (after.forwards === 0) usages.delete(name);
  else usages.set(name, after);
}
