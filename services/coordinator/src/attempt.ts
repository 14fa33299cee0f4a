import { UlyssesError } from '@ulysses/errors';
import { Deferred } from '@ulysses/runtime';
import type { Planned, StepKey, StepView } from '@ulysses/rpc';

/** What one sequence owner waits for: first the plan, then the commit. */
export interface OwnerTicket {
  readonly planned: Promise<Planned>;
  readonly committed: Promise<void>;
}

export type AttemptPhase = 'agree' | 'wait for all ranks' | 'prepare' | 'run' | 'committed' | 'failed';

/**
 * One attempt at a step: the owners that joined it and its one outcome.
 *
 * A1: the first failure wins; every owner gets it, also one that joins later.
 * A2: `signal` fires on failure, so whoever works for the attempt stops.
 */
export class Attempt {
  readonly key: StepKey;
  readonly ownerCount: number;
  readonly views = new Map<number, StepView>();
  /** Owners whose rows pass no relay. */
  readonly directOwners = new Set<number>();
  phase: AttemptPhase = 'agree';
  /** Set when the attempt ended. */
  endedAt: number | null = null;
  readonly #planned = new Deferred<Planned>();
  readonly #committed = new Deferred();
  readonly #allJoined = new Deferred();
  readonly #abort = new AbortController();
  #failure: UlyssesError | null = null;
  #deadlineAt = Infinity;
  #timer: NodeJS.Timeout | null = null;

  constructor(key: StepKey, ownerCount: number) {
    this.key = key;
    this.ownerCount = ownerCount;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get failure(): UlyssesError | null {
    return this.#failure;
  }

  get active(): boolean {
    return this.phase !== 'committed' && this.phase !== 'failed';
  }

  /** Resolves when all owners are here. */
  get allJoined(): Promise<void> {
    return this.#allJoined.promise;
  }

  /** Adds an owner; `signal` is its call's: a cancelled or lost owner ends the attempt for everyone. */
  join(owner: number, view: StepView, signal: AbortSignal, deadlineMs: number): OwnerTicket {
    this.views.set(owner, view);
    signal.addEventListener(
      'abort',
      () => {
        this.#ownerLeft(owner);
      },
      { once: true },
    );
    if (signal.aborted) this.#ownerLeft(owner);
    this.#shortenDeadline(deadlineMs);
    if (this.views.size === this.ownerCount) this.#allJoined.resolve();
    return { planned: this.#planned.promise, committed: this.#committed.promise };
  }

  planned(step: Planned): void {
    this.#planned.resolve(step);
  }

  commit(): void {
    if (!this.active) return;
    this.#end('committed');
    this.#committed.resolve();
  }

  fail(cause: UlyssesError): void {
    if (!this.active) return;
    this.#failure = cause;
    this.#end('failed');
    this.#allJoined.reject(cause);
    this.#planned.reject(cause);
    this.#committed.reject(cause);
    this.#abort.abort(cause);
  }

  #end(phase: 'committed' | 'failed'): void {
    this.phase = phase;
    this.endedAt = performance.now();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #ownerLeft(owner: number): void {
    this.fail(
      new UlyssesError('PEER_LOST', `owner ${owner} cancelled or lost its call in phase ${this.phase}`, {
        peer: `owner ${owner}`,
        phase: this.phase,
      }),
    );
  }

  #shortenDeadline(deadlineMs: number): void {
    const at = performance.now() + deadlineMs;
    if (!this.active || at >= this.#deadlineAt) return;
    this.#deadlineAt = at;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#deadlinePassed();
    }, deadlineMs);
  }

  #deadlinePassed(): void {
    const missing = Array.from({ length: this.ownerCount }, (_, owner) => owner).filter(
      (owner) => !this.views.has(owner),
    );
    const reason =
      missing.length > 0
        ? `owner ${missing.join(', owner ')} of ${this.ownerCount} did not call`
        : `the step was still in phase ${this.phase}`;
    this.fail(
      new UlyssesError('DEADLINE', `the deadline passed: ${reason}`, {
        phase: this.phase,
        ...(missing.length > 0 ? { field: 'owner_index', peer: `owner ${missing.join(', owner ')}` } : {}),
      }),
    );
  }
}
