/**
 * What a rank does with a step, one at a time. wait: it voted, and the rows of the first granule are not there. receive: nor are
 * those of a later one. compute: the device works. return: results are on their way. relay: of an exchange alone. commit:
 * other ranks are not through.
 */
export type RankPhase = 'wait' | 'receive' | 'compute' | 'return' | 'relay' | 'commit';

/** Says when each phase of one step began and ended, by `performance.now()`, as soon as it ends. */
export class StepClock {
  readonly startedAt = performance.now();
  readonly #onPhase: (phase: RankPhase, beginMs: number, endMs: number) => void;
  #phase: RankPhase | null;
  #since = this.startedAt;

  constructor(first: RankPhase, onPhase: (phase: RankPhase, beginMs: number, endMs: number) => void) {
    this.#phase = first;
    this.#onPhase = onPhase;
  }

  /** Nothing after `stop`, which ends a step at any moment. */
  enter(phase: RankPhase): void {
    if (this.#phase === null || phase === this.#phase) return;
    this.#turn(phase);
  }

  stop(): void {
    this.#turn(null);
  }

  #turn(next: RankPhase | null): void {
    const now = performance.now();
    if (this.#phase !== null) this.#onPhase(this.#phase, this.#since, now);
    this.#phase = next;
    this.#since = now;
  }
}
