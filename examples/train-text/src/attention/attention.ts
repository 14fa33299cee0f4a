import type { DType, Layout } from '@ulysses/tensor';
import type { Tensor } from '../model/tensor.js';

/** Causal self-attention over one text: q, out [s, heads * d]; k, v [s, kvHeads * d]. */
export interface Attention {
  /** Writes `out`. q, k, v and out must stay as they are until the backward pass is over. */
  forward(inputs: AttentionInputs, out: Tensor, signal: AbortSignal): Promise<AttentionCall>;
  close(): Promise<void>;
}

export interface AttentionInputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

/** One forward pass that waits for its backward pass. */
export interface AttentionCall {
  readonly report: AttentionReport;
  /** Overwrites the gradients; call it at most once. */
  backward(dout: Tensor, gradients: AttentionGradients, signal: AbortSignal): Promise<AttentionReport>;
}

export interface AttentionGradients {
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
}

/** How one exchange was spread over the ranks. */
export interface AttentionReport {
  /** Rows of the sequence after the all-to-all. */
  readonly gatherSize: number;
  /** Query rows of single heads that each rank works on; they sum to the gather size times the heads. */
  readonly rowsPerRank: readonly number[];
  /** The same in heads: 1.5 is one head and half the rows of another. */
  readonly headsPerRank: readonly number[];
  /** Payload sent and received by this process. */
  readonly bytesExchanged: number;
}

/** How attention sees q, k and v: the model around it computes in float32. */
export interface AttentionForm {
  /** q, k, v and dout are rounded to it, results too. */
  readonly dtype: DType;
  /** One text is [s, 1, h, d], [1, s, h, d] or, packed, [t, h, d]: the same memory under three names. */
  readonly layout: Layout;
  /** How many bytes before it a byte sees besides itself; null: all. */
  readonly window: number | null;
}

/** Sizes of the heads in q, k and v. */
export interface HeadShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
}

/**
 * Rows of one head that an aligned exchange would have added: it rounds the rows and the heads up to a multiple of
 * the number of ranks.
 */
export function paddingRowsAvoided(rows: number, heads: number, cpSize: number): number {
  const roundUp = (extent: number): number => Math.ceil(extent / cpSize) * cpSize;
  return roundUp(rows) * roundUp(heads) - rows * heads;
}
