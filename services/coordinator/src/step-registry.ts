import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import type { PlanStep, SettleStep, StepKey } from '@ulysses/rpc';
import { Attempt, type OwnerTicket } from './attempt.js';

export interface StepRegistryOptions {
  /** Takes an attempt from agreement to commit; throws the first cause when it cannot. */
  readonly run: (attempt: Attempt) => Promise<void>;
  /** Longest that a step may take when its owners set no deadline. */
  readonly defaultDeadlineMs: number;
  /** How long an ended step is remembered, so that a late owner hears how it ended. */
  readonly rememberMs: number;
}

/** Ended a little before the owners' own deadline, so that the error with its details still reaches them. */
const DEADLINE_MARGIN = 0.95;

/**
 * Steps by identity (job, session, call, pass) and their attempts.
 *
 * An owner that asks for a newer attempt than the running one gave the running one up. A failed step is attempted
 * again when repeating can help; otherwise an owner that has not heard of the failure gets it once.
 */
export class StepRegistry {
  readonly #options: StepRegistryOptions;
  readonly #attempts = new Map<string, Attempt>();
  committed = 0;
  failed = 0;

  constructor(options: StepRegistryOptions) {
    this.#options = options;
  }

  get running(): number {
    return [...this.#attempts.values()].filter((attempt) => attempt.active).length;
  }

  join(request: PlanStep, signal: AbortSignal, deadlineMs: number | null): OwnerTicket {
    this.#forgetOld();
    const attempt = this.#attemptFor(request);
    if (attempt.failure !== null) {
      attempt.requests.set(request.ownerIndex, request);
      throw attempt.failure;
    }
    const limitMs = deadlineMs === null ? this.#options.defaultDeadlineMs : deadlineMs * DEADLINE_MARGIN;
    return attempt.join(request, signal, limitMs);
  }

  /**
   * Whether the attempt committed, for an owner whose call broke. One that still runs ends: that owner has left it, and would
   * never hear of a later commit.
   */
  settle({ step, ownerIndex }: SettleStep): boolean {
    const attempt = this.#attempts.get(identityOf(step));
    if (attempt === undefined || attempt.key.attempt !== step.attempt) return false;
    attempt.fail(givenUp(attempt, ownerIndex));
    return attempt.phase === 'committed';
  }

  failAll(cause: UlyssesError): void {
    for (const attempt of this.#attempts.values()) attempt.fail(cause);
  }

  #attemptFor(request: PlanStep): Attempt {
    const { attempt: wanted } = request.step;
    const identity = identityOf(request.step);
    const newest = this.#attempts.get(identity);
    if (newest !== undefined && newest.active && wanted <= newest.key.attempt) {
      requireSameCall(newest, request);
      return newest;
    }
    const failure = newest?.failure ?? null;
    if (newest !== undefined && failure?.retryable === false && !newest.requests.has(request.ownerIndex)) {
      return newest;
    }
    newest?.fail(givenUp(newest, request.ownerIndex));
    const number = newest === undefined ? wanted : Math.max(wanted, newest.key.attempt + 1);
    const attempt = new Attempt({ ...request.step, attempt: number }, request.ownerCount);
    this.#attempts.delete(identity);
    this.#attempts.set(identity, attempt);
    void this.#run(attempt);
    return attempt;
  }

  async #run(attempt: Attempt): Promise<void> {
    try {
      await this.#options.run(attempt);
      attempt.commit();
      this.committed++;
    } catch (thrown) {
      attempt.fail(toUlyssesError(thrown));
      this.failed++;
    }
  }

  #forgetOld(): void {
    const oldest = performance.now() - this.#options.rememberMs;
    for (const [identity, attempt] of this.#attempts) {
      if (attempt.endedAt !== null && attempt.endedAt < oldest) this.#attempts.delete(identity);
    }
  }
}

function identityOf({ job, session, call, pass }: StepKey): string {
  return JSON.stringify([job, session, call, pass]);
}

function givenUp({ key }: Attempt, owner: number): UlyssesError {
  return new UlyssesError('PEER_LOST', `owner ${owner} gave up attempt ${key.attempt}`, {
    peer: `owner ${owner}`,
  });
}

/** Owners of one step must agree how many they are, and each comes once. */
function requireSameCall(attempt: Attempt, { ownerIndex, ownerCount }: PlanStep): void {
  if (ownerCount !== attempt.ownerCount) {
    const error = new UlyssesError(
      'STEP_MISMATCH',
      `owner ${ownerIndex}: owner_count is ${ownerCount}, expected ${attempt.ownerCount}, as the other owners have it`,
      {
        field: 'owner_count',
        value: String(ownerCount),
        expected: String(attempt.ownerCount),
        peer: `owner ${ownerIndex}`,
      },
    );
    attempt.fail(error);
    throw error;
  }
  if (attempt.requests.has(ownerIndex)) {
    throw new UlyssesError(
      'STEP_MISMATCH',
      `owner_index is ${ownerIndex}, and owner ${ownerIndex} of this step has already called`,
      {
        field: 'owner_index',
        value: String(ownerIndex),
        expected: 'an index of its own for every owner of a session',
        peer: `owner ${ownerIndex}`,
      },
    );
  }
}
