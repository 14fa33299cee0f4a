import type { Mask, RowRange } from '@ulysses/plan';
import type { TensorView } from './tensor-view.js';

/**
 * The trainer's own attention between the two exchanges, on whole sequences of some heads. It is called once per forward, at
 * owners that have a head.
 *
 * q has this owner's query heads; k and v have exactly the KV heads that these read, each once. The tensors are the callee's
 * to keep.
 */
export type CoreAttention = (
  q: TensorView,
  k: TensorView,
  v: TensorView,
  call: CoreAttentionCall,
) => Promise<CoreAttentionOutput>;

export interface CoreAttentionCall {
  /** Which heads of the whole tensors these are. */
  readonly qHeads: RowRange;
  readonly kvHeads: RowRange;
  /** Per head of q, the head of k and v that it reads: counted in these tensors, not in the whole ones. */
  readonly kvHeadOfQHead: readonly number[];
  /** As the options say; keeping to them is up to the core attention. */
  readonly mask: Mask;
  readonly scale: number;
  readonly attentionMaskLengths: readonly number[] | null;
  /** Aborts when the call's deadline passes or its caller gives up. */
  readonly signal: AbortSignal;
}

export interface CoreAttentionOutput {
  /** Shaped like q, in its dtype. */
  readonly out: TensorView;
  /** Gradients for `dout`, which is shaped like `out`. */
  readonly backward: (dout: TensorView, call: { readonly signal: AbortSignal }) => Promise<CoreGradients>;
}

/** dq shaped like q; dk and dv like k: in float32, or in the dtype of k. Sums over owners are float32 either way. */
export interface CoreGradients {
  readonly dq: TensorView;
  readonly dk: TensorView;
  readonly dv: TensorView;
}
