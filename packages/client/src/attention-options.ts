import type { GatherSizeCalculator, Keep, KvCacheChoice, Mask, MaskTensor, Strategy } from '@ulysses/plan';
import type { TensorView } from './tensor-view.js';

export interface AttentionOptions {
  /** How long the gathered sequence is; null: the coordinator's own calculator. @default a DynamicGatherSizeCalculator */
  readonly gatherSizeCalculator?: GatherSizeCalculator | null;
  /** Row i sees no key after it (bottom-right aligned when s_q != s_kv). @default false */
  readonly causal?: boolean;
  /** Other visibility rules; `causal` sets `right` to 0. @default everything is visible */
  readonly mask?: Partial<Mask>;
  /** Softmax scale. @default 1 / sqrt(d) */
  readonly scale?: number;
  /** How work is cut. @default whole heads when they divide, balanced otherwise */
  readonly strategy?: Strategy;
  /**
   * What is kept for backward. `store`: on the ranks. `recompute`: nothing there, backward sends q, k and v again and computes
   * forward again, to the same bits. `none`: nothing at all, for inference. @default 'store'
   */
  readonly keep?: Keep;
  /**
   * How much of K and V ranks do not keep gathered, but get again from their owners in backward: nothing, K (half), K and V
   * (full), or the first of these that fits the budget (auto). Half and full make the exchange aligned. @default the cluster's
   */
  readonly kvCachePolicy?: KvCacheChoice;
  /** Policies half and full leave the exchange unaligned. @default false, or what the cluster says */
  readonly kvCachePolicyUnaligned?: boolean;
  /** With policy auto: most bytes that one rank keeps of one forward. @default the cluster's */
  readonly kvCacheBudgetBytes?: number;
  /** Probability of dropping; anything but 0 is refused. @default 0 */
  readonly dropout?: number;
  /** Added to the scores; refused: see `mask` and `CallOptions.attentionMask`. @default none */
  readonly bias?: TensorView | null;
}

/** What one call may add. */
export interface CallOptions {
  /** Length of each sample of the batch, as the attention mask has it. */
  readonly attentionMaskLengths?: readonly number[];
  /**
   * A boolean mask of the whole sequence, not zero where visible: [s] or [b, s] for keys, which goes with `causal` and bands,
   * or [b, 1, s_q, s_kv]. It is said exactly in the mask algebra, or refused. Query rows at the places of keys that are
   * padding are padding too, unless s_q is other than s_kv.
   */
  readonly attentionMask?: MaskTensor;
  /** Last dimension of the attention-mask tensor. @default that of `attentionMask` */
  readonly attentionMaskExtent?: number;
  /** Reach the calculator's `calculate` untouched. */
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
  readonly deadlineMs?: number;
}
