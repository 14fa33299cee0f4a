import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import type { PlanStep } from '@ulysses/rpc';
import { Attempt, type OwnerTicket } from './attempt.js';

export interface StepRegistryOptions {
  /** Takes an attempt from agreement to commit; throws the first cause when it cannot. */
  readonly run: (attempt: Attempt, request: PlanStep) => Promise<void>;
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
      attempt.views.set(request.ownerIndex, request.view);
      throw attempt.failure;
    }
    const limitMs = deadlineMs === null ? this.#options.defaultDeadlineMs : deadlineMs * DEADLINE_MARGIN;
    if (request.direct) attempt.directOwners.add(request.ownerIndex);
    return attempt.join(request.ownerIndex, request.view, signal, limitMs);
  }

  failAll(cause: UlyssesError): void {
    for (const attempt of this.#attempts.values()) attempt.fail(cause);
  }

  #attemptFor(request: PlanStep): Attempt {
    const { job, session, call, pass, attempt: wanted } = request.step;
    const identity = JSON.stringify([job, session, call, pass]);
    const newest = this.#attempts.get(identity);
    if (newest !== undefined && newest.active && wanted <= newest.key.attempt) {
      requireSameCall(newest, request);
      return newest;
    }
    const failure = newest?.failure ?? null;
    if (newest !== undefined && failure?.retryable === false && !newest.views.has(request.ownerIndex)) {
      return newest;
    }
    newest?.fail(
      new UlyssesError('PEER_LOST', `owner ${request.ownerIndex} gave up attempt ${newest.key.attempt}`, {
        peer: `owner ${request.ownerIndex}`,
      }),
    );
    const number = newest === undefined ? wanted : Math.max(wanted, newest.key.attempt + 1);
    const attempt = new Attempt({ ...request.step, attempt: number }, request.ownerCount);
    this.#attempts.delete(identity);
    this.#attempts.set(identity, attempt);
    void this.#run(attempt, request);
    return attempt;
  }

  async #run(attempt: Attempt, request: PlanStep): Promise<void> {
    try {
      await this.#options.run(attempt, request);
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
  if (attempt.views.has(ownerIndex)) {
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
