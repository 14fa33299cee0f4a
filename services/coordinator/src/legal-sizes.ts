/** A job that was silent for this long is over. */
const JOB_MS = 600_000;

interface AlignedJob {
  readonly qHeads: number;
  readonly seenAt: number;
}

/** Which numbers of ranks the aligned steps of running jobs can have: each must divide the heads of all of them. */
export class LegalSizes {
  readonly #jobs = new Map<string, AlignedJob>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** An attention step of `job` committed; `alignedHeads` is null when its exchange was unaligned. */
  committed(job: string, alignedHeads: number | null): void {
    if (alignedHeads === null) this.#jobs.delete(job);
    else this.#jobs.set(job, { qHeads: alignedHeads, seenAt: this.#now() });
  }

  /** The largest legal size from `least` to `most`, or null. */
  largest(most: number, least: number): number | null {
    const heads = this.heads();
    for (let size = most; size >= least; size--) if (heads.every((each) => each % size === 0)) return size;
    return null;
  }

  /** Heads that must divide, each once. */
  heads(): readonly number[] {
    const oldest = this.#now() - JOB_MS;
    for (const [job, { seenAt }] of this.#jobs) if (seenAt < oldest) this.#jobs.delete(job);
    return [...new Set([...this.#jobs.values()].map(({ qHeads }) => qHeads))].sort((a, b) => a - b);
  }
}
