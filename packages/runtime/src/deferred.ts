import { onAbort } from './deadline.js';

/** A promise settled from outside; a rejection that nobody awaits is not an unhandled one. */
export class Deferred<T = void> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: Error) => void;
  readonly #waiting = new Set<() => void>();
  #settled = false;

  constructor() {
    let settle: { resolve: (value: T) => void; reject: (reason: Error) => void };
    this.promise = new Promise<T>((resolve, reject) => {
      settle = { resolve, reject };
    });
    this.promise.catch(() => undefined);
    this.resolve = (value) => {
      settle.resolve(value);
      this.#tellAll();
    };
    this.reject = (reason) => {
      settle.reject(reason);
      this.#tellAll();
    };
  }

  /**
   * As `orAborted` of the promise, for one that many wait for and that may take for ever: whoever stops waiting leaves nothing
   * behind, where a promise would hold it until it settles.
   */
  orAborted(signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const tell = (): void => {
        signal.removeEventListener('abort', leave);
        resolve(this.promise);
      };
      const leave = (): void => {
        this.#waiting.delete(tell);
        reject(signal.reason as Error);
      };
      if (signal.aborted) leave();
      else if (this.#settled) tell();
      else {
        this.#waiting.add(tell);
        onAbort(signal, leave);
      }
    });
  }

  #tellAll(): void {
    this.#settled = true;
    for (const tell of this.#waiting) tell();
    this.#waiting.clear();
  }
}
