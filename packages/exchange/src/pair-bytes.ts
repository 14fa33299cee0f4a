import { elementBytes } from '@ulysses/tensor';
import type { PairSegments, Plan, Segment } from '@ulysses/plan';

/** Payload bytes between one owner and one rank; both ends and the plan agree on them exactly. */
export interface PairBytes {
  /** Owner to rank. */
  readonly scattered: number;
  /** Rank to owner. */
  readonly returned: number;
}

export function pairBytes(plan: Plan, { q, kv }: PairSegments, pass: 'forward' | 'backward'): PairBytes {
  const { headSize, dtype } = plan.spec;
  const rowBytes = headSize * elementBytes(dtype);
  const qRows = rows(q);
  const kvRows = rows(kv);
  return pass === 'forward'
    ? { scattered: qRows * rowBytes + 2 * kvRows * rowBytes, returned: qRows * (rowBytes + 4) }
    : { scattered: qRows * rowBytes, returned: qRows * rowBytes + 2 * kvRows * headSize * 4 };
}

function rows(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.end - segment.begin, 0);
}
