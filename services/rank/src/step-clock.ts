/**
 * What a rank does with a step, one at a time. wait: it voted, and the rows of the first granule are not there. receive: nor are
 * those of a later one. compute: the device works. return: results are on their way. relay: of an exchange alone. commit:
 * other ranks are not through.
 */
export type RankPhase = 'wait' | 'receive' | 'compute' | 'return' | 'relay' | 'commit';

/** Says how long each phase of one step was, as soon as it ends, and when that was by `performance.now()`. */
export class StepClock {
  readonly #onPhase: (phase: RankPhase, seconds: number, endMs: number) => void;
  #phase: RankPhase | null;
  #since = performance.now();

  constructor(first: RankPhase, onPhase: (phase: RankPhase, seconds: number, endMs: number) => void) {
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
    if (this.#phase !== null) this.#onPhase(this.#phase, (now - this.#since) / 1000, now);
    this.#phase = next;
    this.#since = now;
  }
}
