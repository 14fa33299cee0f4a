import { UlyssesError } from '@ulysses/errors';

type Waiting<T> = (result: IteratorResult<T, undefined>) => void;

/**
 * Values pushed by one side and iterated by the other, in order. Unbounded: for control messages.
 *
 * Q1: one consumer, once; a second iteration throws INVARIANT.
 * Q2: after `close` what was pushed before is still delivered; later pushes are dropped.
 * Q3: a consumer that leaves its loop closes the queue and drops the rest.
 */
export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #values: T[] = [];
  #waiting: Waiting<T>[] = [];
  #closed = false;
  #consumed = false;

  get closed(): boolean {
    return this.#closed;
  }

  push(value: T): void {
    if (this.#closed) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#values.push(value);
    else waiting({ done: false, value });
  }

  close(): void {
    this.#closed = true;
    for (const waiting of this.#waiting) waiting({ done: true, value: undefined });
    this.#waiting = [];
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined, undefined> {
    if (this.#consumed) throw new UlyssesError('INVARIANT', 'an AsyncQueue has one consumer');
    this.#consumed = true;
    return {
      next: async () => this.#next(),
      return: async () => {
        this.#values.length = 0;
        this.close();
        return { done: true, value: undefined };
      },
    };
  }

  #next(): Promise<IteratorResult<T, undefined>> | IteratorResult<T, undefined> {
    if (this.#values.length > 0) return { done: false, value: this.#values.shift() as T };
    if (this.#closed) return { done: true, value: undefined };
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }
}
