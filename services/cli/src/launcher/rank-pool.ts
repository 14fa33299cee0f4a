/**
 * As many supervised ranks as the cluster has places.
 *
 * P1: a larger cluster gets more processes at once. In a smaller one those that are too many stay as spares until they end, and
 *     are not replaced then: a rank that was drained stays away.
 */
export class RankPool {
  readonly #supervise: (wanted: () => boolean) => Promise<void>;
  readonly #running = new Set<Promise<void>>();
  #size = 0;

  /** `supervise` keeps one rank alive; when its process has ended it asks whether another is wanted. */
  constructor(supervise: (wanted: () => boolean) => Promise<void>) {
    this.#supervise = supervise;
  }

  resize(size: number): void {
    this.#size = size;
    while (this.#running.size < size) {
      const rank = this.#supervise(() => this.#running.size <= this.#size).finally(() => {
        this.#running.delete(rank);
      });
      this.#running.add(rank);
    }
  }

  /** Resolves when all have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }
}
