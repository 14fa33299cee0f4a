import { UlyssesError } from '@ulysses/errors';
import { Deferred } from '@ulysses/runtime';
import type { PlanStep, Planned, StepKey } from '@ulysses/rpc';

/** What one sequence owner waits for: first the plan, then the commit. */
export interface OwnerTicket {
  readonly planned: Promise<Planned>;
  readonly committed: Promise<void>;
}

export type AttemptPhase =
  'agree' | 'wait for all ranks' | `gather size of ${string}` | 'prepare' | 'run' | 'committed' | 'failed';

/** As metrics name the phases in which time passes. */
export type PhaseLabel = 'agree' | 'ranks' | 'gather_size' | 'prepare' | 'run';

/** Missing owners that an error names; it has to fit into a header. */
const MOST_NAMED = 16;

/**
 * One attempt at a step: the owners that joined it and its one outcome.
 *
 * A1: the first failure wins; every owner gets it, also one that joins later.
 * A2: `signal` fires on failure, so whoever works for the attempt stops.
 */
export class Attempt {
  readonly key: StepKey;
  readonly ownerCount: number;
  /** What every owner that joined said, by owner index. */
  readonly requests = new Map<number, PlanStep>();
  /** Called once, when the attempt has ended. */
  onEnd: () => void = () => undefined;
  /** Who the phase waits for: for the error of one that waits too long. */
  waitsFor: () => readonly string[] = () => [];
  /** Steps in which owners wait that this one may be missing: for the same error. */
  callsElsewhere: (missing: ReadonlySet<number>) => readonly string[] = () => [];
  /** Of an attention step with an aligned exchange: the q heads, which the ranks must divide. */
  alignedHeads: number | null = null;
  /** Of the phases that ended. */
  readonly secondsByPhase = new Map<PhaseLabel, number>();
  readonly #onPhase: (phase: PhaseLabel, seconds: number, endMs: number) => void;
  #phase: AttemptPhase = 'agree';
  #phaseSince = performance.now();
  readonly #planned = new Deferred<Planned>();
  readonly #committed = new Deferred();
  readonly #allJoined = new Deferred();
  readonly #abort = new AbortController();
  #failure: UlyssesError | null = null;
  #deadlineAt = Infinity;
  #timer: NodeJS.Timeout | null = null;

  /** `onPhase` hears of each phase when it ends, and when that was by `performance.now()`. */
  constructor(
    key: StepKey,
    ownerCount: number,
    onPhase: (phase: PhaseLabel, seconds: number, endMs: number) => void = () => undefined,
  ) {
    this.#onPhase = onPhase;
    this.key = key;
    this.ownerCount = ownerCount;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get phase(): AttemptPhase {
    return this.#phase;
  }

  set phase(next: AttemptPhase) {
    const now = performance.now();
    const label = labelOf(this.#phase);
    if (label !== null) {
      const seconds = (now - this.#phaseSince) / 1000;
      this.secondsByPhase.set(label, (this.secondsByPhase.get(label) ?? 0) + seconds);
      this.#onPhase(label, seconds, now);
    }
    this.#phase = next;
    this.#phaseSince = now;
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
  join(request: PlanStep, signal: AbortSignal, deadlineMs: number): OwnerTicket {
    const owner = request.ownerIndex;
    this.requests.set(owner, request);
    signal.addEventListener(
      'abort',
      () => {
        this.#ownerLeft(owner);
      },
      { once: true },
    );
    if (signal.aborted) this.#ownerLeft(owner);
    this.#shortenDeadline(deadlineMs);
    if (this.requests.size === this.ownerCount) this.#allJoined.resolve();
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
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.onEnd();
  }

  #ownerLeft(owner: number): void {
    this.fail(
      new UlyssesError('PEER_LOST', `owner ${owner} cancelled or lost its call in phase ${this.phase}`, {
        field: 'owner_index',
        value: owner,
        expected: 'an owner whose call lasts as long as the step',
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
      (owner) => !this.requests.has(owner),
    );
    const named = missing.slice(0, MOST_NAMED);
    const more = missing.length > named.length ? ` and ${missing.length - named.length} more` : '';
    const owners = named.map((owner) => `owner ${owner}`).join(', ') + more;
    const late = this.waitsFor().join(', ');
    const peer = owners === '' ? late : owners;
    const elsewhere = missing.length === 0 ? [] : this.callsElsewhere(new Set(missing));
    const hint =
      elsewhere.length === 0 ? '' : `; a step of another name misses the others: ${elsewhere.join(', ')}`;
    const reason =
      owners === ''
        ? `the step was still in phase ${this.phase}${late === '' ? '' : `, and waited for ${late}`}`
        : `${owners} of ${this.ownerCount} did not call${hint}`;
    this.fail(
      new UlyssesError('DEADLINE', `the deadline passed: ${reason}`, {
        phase: this.phase,
        ...(owners === ''
          ? { field: 'phase', value: this.phase, expected: 'committed' }
          : {
              field: 'owner_index',
              value: `${named.join(', ')}${more} did not call`,
              expected: `a call of each of ${this.ownerCount} owners${hint}`,
            }),
        ...(peer === '' ? {} : { peer }),
      }),
    );
  }
}

/** Null for the phases in which nothing is waited for any more. */
function labelOf(phase: AttemptPhase): PhaseLabel | null {
  switch (phase) {
    case 'committed':
    case 'failed':
      return null;
    case 'wait for all ranks':
      return 'ranks';
    case 'agree':
    case 'prepare':
    case 'run':
      return phase;
    default:
      return 'gather_size';
  }
}
