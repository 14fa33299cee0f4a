/** Microseconds since 1970, by this process's clock. */
export interface Span {
  readonly phase: string;
  readonly beginUs: number;
  readonly endUs: number;
}

export interface TraceOf<Key> {
  readonly step: Key;
  readonly spans: readonly Span[];
}

/** How many steps are kept. */
const STEPS = 256;
/** Of one step; what happens later counts to the last of them. */
const SPANS = 512;

interface Kept<Key> {
  readonly step: Key;
  readonly spans: Span[];
}

/**
 * What this process did with its last steps, in the order in which it ended.
 *
 * T1: memory is bounded: the oldest step goes when a new one comes.
 */
export class Traces<Key> {
  readonly #steps = new Map<string, Kept<Key>>();
  readonly #nameOf: (step: Key) => string;

  /** `nameOf` gives parts with slashes between them. */
  constructor(nameOf: (step: Key) => string) {
    this.#nameOf = nameOf;
  }

  /** Adds a phase that ended at `endMs` of `performance.now()`. */
  add(step: Key, phase: string, seconds: number, endMs: number): void {
    const name = this.#nameOf(step);
    let kept = this.#steps.get(name);
    if (kept === undefined) {
      kept = { step, spans: [] };
      this.#steps.set(name, kept);
      const [oldest] = this.#steps.keys();
      if (this.#steps.size > STEPS && oldest !== undefined) this.#steps.delete(oldest);
    }
    const endUs = Math.round(1000 * (performance.timeOrigin + endMs));
    const last = kept.spans.length < SPANS ? null : kept.spans.pop();
    const beginUs = last?.beginUs ?? Math.round(1000 * (performance.timeOrigin + endMs - 1000 * seconds));
    kept.spans.push({ phase: last === null ? phase : 'rest', beginUs, endUs });
  }

  /** The newest step whose name is `wanted`, or begins with it and a slash; with `last` the newest of all. */
  find(wanted: string): TraceOf<Key> | null {
    const found = [...this.#steps].findLast(([name]) => {
      return wanted === 'last' || name === wanted || name.startsWith(`${wanted}/`);
    });
    return found?.[1] ?? null;
  }
}
