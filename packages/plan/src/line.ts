import type { StepSpec } from './spec.js';
import { sumOf } from './split-sizes.js';

/**
 * The line that cuts are positions on: lanes one after the other, a lane being the s_q rows of one query head of one
 * sample.
 *
 * `heads` lists every sample of a head before the next head, so that a rank's whole heads are one stretch.
 * `balanced` lists every head of a sample before the next sample, so that query heads which share a KV head lie
 * together and fewer ranks need the same KV rows.
 */
export interface Line {
  /** s_q */
  readonly laneRows: number;
  /** batch * qHeads * s_q */
  readonly length: number;
}

export function lineOf({ qSplits, batch, qHeads }: StepSpec): Line {
  const laneRows = sumOf(qSplits);
  return { laneRows, length: batch * qHeads * laneRows };
}

/** The sample and query head of a lane. */
export function laneAt(
  { strategy, batch, qHeads }: StepSpec,
  lane: number,
): { batch: number; qHead: number } {
  return strategy === 'heads'
    ? { batch: lane % batch, qHead: Math.floor(lane / batch) }
    : { batch: Math.floor(lane / qHeads), qHead: lane % qHeads };
}
