import { UlyssesError, describe, fieldError, toUlyssesError } from '@ulysses/errors';
import { isExchangeView, traceName, type PlanStep, type SettleStep, type StepKey } from '@ulysses/rpc';
import { Traces } from '@ulysses/runtime';
import { Attempt, type OwnerTicket } from './attempt.js';

export interface StepRegistryOptions {
  /** Whose steps are taken; null: of any name. */
  readonly jobs: readonly string[] | null;
  /** Takes an attempt from agreement to commit; throws the first cause when it cannot. */
  readonly run: (attempt: Attempt) => Promise<void>;
  /** Hears of every attempt when nothing works for it any more. */
  readonly onEnded: (attempt: Attempt) => void;
  /** Longest that a step may take when its owners set no deadline. */
  readonly defaultDeadlineMs: number;
  /** How long an ended step is remembered, so that a late owner hears how it ended. */
  readonly rememberMs: number;
}

/** For the way back of an error at the deadline: a busy process may need so long to say it. */
const ANSWER_MS = 150;

/** Ended steps that are remembered at most, whatever their age: owners ask about those that just ended. */
const MOST_REMEMBERED = 4096;
/** Far more than there are processes in a job; what is waited for is counted one by one. */
const MOST_OWNERS = 2 ** 16;

/** Steps that an error names at most; it has to fit into a header. */
const MOST_NAMED = 4;

/** What is left of an attempt: nothing that its owners sent. */
interface EndedStep {
  readonly key: StepKey;
  readonly ownerCount: number;
  /** Null: it committed. */
  readonly failure: UlyssesError | null;
  /** Owners that know how it ended. */
  readonly heardBy: Set<number>;
  readonly at: number;
}

/**
 * Steps by identity (job, session, call, pass) and their attempts.
 *
 * An owner that asks for a newer attempt than the running one gave the running one up. A failed step is attempted
 * again when repeating can help; otherwise an owner that has not heard of the failure gets it once.
 */
export class StepRegistry {
  readonly #options: StepRegistryOptions;
  readonly traces = new Traces<StepKey>(traceName);
  #refusal: UlyssesError | null = null;
  readonly #running = new Map<string, Attempt>();
  /** In the order in which they ended. */
  readonly #ended = new Map<string, EndedStep>();
  committed = 0;
  failed = 0;

  constructor(options: StepRegistryOptions) {
    this.#options = options;
  }

  get running(): number {
    return this.#running.size;
  }

  join(request: PlanStep, signal: AbortSignal, deadlineMs: number | null): OwnerTicket {
    if (this.#refusal !== null) throw this.#refusal;
    requireOwner(request);
    requireJob(request, this.#options.jobs);
    this.#forgetOld();
    const limitMs = deadlineMs === null ? this.#options.defaultDeadlineMs : beforeDeadline(deadlineMs);
    const attempt = this.#attemptFor(request);
    const ticket = attempt.join(request, signal, limitMs);
    const failure = isExchangeView(request.view) ? request.view.failure : null;
    if (failure !== null) attempt.fail(ownerFailed(request.ownerIndex, failure));
    return ticket;
  }

  /**
   * Whether the attempt committed, for an owner whose call broke. One that still runs ends: that owner has left it, and would
   * never hear of a later commit.
   */
  settle({ step, ownerIndex }: SettleStep): boolean {
    const identity = identityOf(step);
    const running = this.#running.get(identity);
    if (running?.key.attempt === step.attempt) running.fail(givenUp(running, ownerIndex));
    const ended = this.#ended.get(identity);
    return ended?.key.attempt === step.attempt && ended.failure === null;
  }

  /** From now on every step is refused with `cause`, and those that no rank has heard of yet end with it. */
  refuse(cause: UlyssesError): void {
    this.#refusal = cause;
    for (const attempt of [...this.#running.values()]) {
      if (attempt.phase !== 'prepare' && attempt.phase !== 'run') attempt.fail(cause);
    }
  }

  failAll(cause: UlyssesError): void {
    for (const attempt of [...this.#running.values()]) attempt.fail(cause);
  }

  #attemptFor(request: PlanStep): Attempt {
    const { attempt: wanted } = request.step;
    const identity = identityOf(request.step);
    const running = this.#running.get(identity);
    if (running !== undefined) {
      if (wanted <= running.key.attempt) {
        requireSameCall(running, request);
        return running;
      }
      running.fail(givenUp(running, request.ownerIndex));
    } else {
      const { failure = null, heardBy = null } = this.#ended.get(identity) ?? {};
      if (failure?.retryable === false && heardBy?.has(request.ownerIndex) === false) {
        heardBy.add(request.ownerIndex);
        throw failure;
      }
    }
    const newest = this.#ended.get(identity)?.key.attempt ?? -1;
    this.#ended.delete(identity);
    return this.#begin(identity, { ...request.step, attempt: Math.max(wanted, newest + 1) }, request);
  }

  #begin(identity: string, key: StepKey, { ownerCount }: PlanStep): Attempt {
    const attempt = new Attempt(key, ownerCount, (phase, seconds, endMs) => {
      this.traces.add(key, phase, seconds, endMs);
    });
    this.#running.set(identity, attempt);
    attempt.callsElsewhere = (missing) => this.#callsElsewhere(attempt, missing);
    attempt.onEnd = () => {
      this.#running.delete(identity);
      this.#ended.set(identity, {
        key,
        ownerCount,
        failure: attempt.failure,
        heardBy: new Set(attempt.requests.keys()),
        at: performance.now(),
      });
    };
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
    this.#options.onEnded(attempt);
  }

  /**
   * Owners that name different jobs or sessions wait in different steps, each for the others. Two trainers may look like that by
   * chance, so this only helps to read an error.
   */
  #callsElsewhere({ key, ownerCount }: Attempt, missing: ReadonlySet<number>): string[] {
    const named: string[] = [];
    const consider = (other: StepKey, count: number, owners: Iterable<number>): void => {
      const here = [...owners];
      const fits = here.every((owner) => missing.has(owner));
      const alike = other.call === key.call && other.pass === key.pass && count === ownerCount;
      if (!alike || !fits || (other.job === key.job && other.session === key.session)) return;
      const who = here.slice(0, MOST_NAMED).map((owner) => `owner ${owner}`);
      named.push(`${who.join(' and ')} of job ${describe(other.job)}, session ${describe(other.session)}`);
    };
    for (const { key: other, ownerCount: count, phase, requests } of this.#running.values()) {
      if (named.length < MOST_NAMED && phase === 'agree') consider(other, count, requests.keys());
    }
    for (const { key: other, ownerCount: count, failure, heardBy } of this.#ended.values()) {
      if (named.length < MOST_NAMED && failure?.code === 'DEADLINE') consider(other, count, heardBy);
    }
    return named;
  }

  #forgetOld(): void {
    const oldest = performance.now() - this.#options.rememberMs;
    for (const [identity, { at }] of this.#ended) {
      if (at >= oldest && this.#ended.size <= MOST_REMEMBERED) return;
      this.#ended.delete(identity);
    }
  }
}

function identityOf({ job, session, call, pass }: StepKey): string {
  return JSON.stringify([job, session, call, pass]);
}

function givenUp({ key }: Attempt, owner: number): UlyssesError {
  return new UlyssesError('PEER_LOST', `owner ${owner} gave up attempt ${key.attempt}`, {
    field: 'attempt',
    value: key.attempt,
    expected: 'an attempt that every owner stays with until it has ended',
    peer: `owner ${owner}`,
  });
}

function ownerFailed(owner: number, failure: string): UlyssesError {
  return new UlyssesError('STEP_MISMATCH', `owner ${owner}: ${failure}`, {
    field: 'failure',
    value: describe(failure),
    expected: 'an owner that does its part of the step',
    peer: `owner ${owner}`,
  });
}

function requireOwner({ ownerIndex, ownerCount }: PlanStep): void {
  if (ownerCount < 1 || ownerCount > MOST_OWNERS) {
    throw fieldError('SHAPE_MISMATCH', 'owner_count', ownerCount, `a number from 1 to ${MOST_OWNERS}`);
  }
  if (ownerIndex >= ownerCount) {
    throw fieldError('SHAPE_MISMATCH', 'owner_index', ownerIndex, `a number from 0 to ${ownerCount - 1}`);
  }
}

function requireJob({ step }: PlanStep, jobs: readonly string[] | null): void {
  if (jobs === null || jobs.includes(step.job)) return;
  throw fieldError('FORBIDDEN', 'job', step.job, `one of the --jobs of the coordinator: ${jobs.join(', ')}`);
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

/** When a step ends for its deadline: a little before its owners' own, so that the error with its details still reaches them. */
function beforeDeadline(deadlineMs: number): number {
  return deadlineMs - Math.max(0.05 * deadlineMs, Math.min(ANSWER_MS, 0.25 * deadlineMs));
}
