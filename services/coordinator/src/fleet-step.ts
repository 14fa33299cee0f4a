import type { UlyssesError } from '@ulysses/errors';
import type { Prepare, RankAddress, RankCommand, StepKey } from '@ulysses/rpc';
import { Deferred } from '@ulysses/runtime';

export interface FleetStepPorts {
  /** To every rank of the step. */
  readonly broadcast: (command: RankCommand) => void;
  readonly onClose: () => void;
}

/** One step as all ranks run it: their votes, their finishes, and the first failure among them. */
export class FleetStep {
  readonly #key: StepKey;
  readonly #ranks: readonly RankAddress[];
  readonly #ports: FleetStepPorts;
  readonly #voted = new Deferred();
  readonly #finished = new Deferred();
  readonly #failed = new Deferred<never>();
  readonly #votes = new Set<number>();
  readonly #finishes = new Set<number>();

  constructor(key: StepKey, ranks: readonly RankAddress[], ports: FleetStepPorts) {
    this.#key = key;
    this.#ranks = ranks;
    this.#ports = ports;
  }

  /** Resolves when every rank voted yes; rejects with the first refusal. */
  get voted(): Promise<void> {
    return this.#voted.promise;
  }

  /** Resolves when every rank finished: all units computed, all rows acknowledged. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Ranks that have not voted yet. */
  get voting(): string[] {
    return this.#without(this.#votes);
  }

  /** Ranks that have not finished yet. */
  get unfinished(): string[] {
    return this.#without(this.#finishes);
  }

  /** Never resolves; rejects with the first failure. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  is({ job, session, call, pass, attempt }: StepKey): boolean {
    const key = this.#key;
    return (
      key.call === call &&
      key.attempt === attempt &&
      key.pass === pass &&
      key.session === session &&
      key.job === job
    );
  }

  prepare(prepare: Prepare): void {
    this.#ports.broadcast(prepare);
  }

  commit(): void {
    this.#ports.broadcast({ kind: 'commit', step: this.#key });
  }

  abort(cause: UlyssesError): void {
    this.#ports.broadcast({ kind: 'abort', step: this.#key, cause });
  }

  voteOf(rank: number, refusal: UlyssesError | null): void {
    if (refusal !== null) {
      this.fail(refusal);
      return;
    }
    this.#votes.add(rank);
    if (this.#votes.size === this.#ranks.length) this.#voted.resolve();
  }

  finishedBy(rank: number): void {
    this.#finishes.add(rank);
    if (this.#finishes.size === this.#ranks.length) this.#finished.resolve();
  }

  fail(cause: UlyssesError): void {
    this.#voted.reject(cause);
    this.#finished.reject(cause);
    this.#failed.reject(cause);
  }

  close(): void {
    this.#ports.onClose();
  }

  #without(done: ReadonlySet<number>): string[] {
    return this.#ranks.flatMap(({ rank }) => (done.has(rank) ? [] : [`rank ${rank}`]));
  }
}
