import type { Keep, KvCachePolicy } from '@ulysses/plan';
import type { PassOutcome } from './passes.js';

/** What a step did, for progress lines and logs. */
export interface StepReport {
  /** Rows of the whole sequence that were exchanged. */
  readonly gatherSize: number;
  readonly cpSize: number;
  readonly epoch: number;
  readonly attempt: number;
  /** Milliseconds from the call of the attempt that committed until every owner and rank had said yes to it. */
  readonly agreedMs: number;
  /** Query rows times heads that each rank computed. */
  readonly rowsPerRank: readonly number[];
  /** The same in heads of the whole sequence and batch; 3.5 is three heads and half of another. */
  readonly headsPerRank: readonly number[];
  /** Payload bytes that this owner sent and got back. */
  readonly bytesExchanged: number;
  /** Rows that the batch carries as padding, over all samples; and those of them that were not exchanged. */
  readonly paddingRows: number;
  readonly paddingRowsNotExchanged: number;
  /** What was agreed: what is kept between forward and backward, and how much of K and V ranks do not keep. */
  readonly keep: Keep;
  readonly kvCachePolicy: KvCachePolicy;
}

export function stepReport({
  planned,
  plan,
  agreedMs,
  keep,
  bytesSent,
  bytesReceived,
}: PassOutcome): StepReport {
  const gatherSize = plan.spec.qSplits.reduce((sum, rows) => sum + rows, 0);
  const rowsPerRank = plan.cuts.slice(1).map((cut, rank) => cut - plan.cuts[rank]!);
  return {
    gatherSize,
    cpSize: plan.cpSize,
    epoch: planned.epoch,
    attempt: planned.attempt,
    agreedMs,
    rowsPerRank,
    headsPerRank: rowsPerRank.map((rows) => rows / (gatherSize * plan.spec.batch)),
    bytesExchanged: bytesSent + bytesReceived,
    paddingRows: planned.paddingRows,
    paddingRowsNotExchanged: planned.paddingRowsNotExchanged,
    keep,
    kvCachePolicy: planned.kvCachePolicy,
  };
}
