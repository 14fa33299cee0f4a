import { fieldError } from '@ulysses/errors';
import { classifyMask, type GatherSizeCalculator, type Mask } from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import { gatherSizeView } from './gather-size-view.js';
import type { TensorView } from './tensor-view.js';
import type { AttentionOptions, CallOptions } from './attention-options.js';

/** The step as this owner sees it. Calculators of the caller's own run here; the known ones run in the coordinator. */
export async function buildStepView(
  options: AttentionOptions & { readonly gatherSizeCalculator: GatherSizeCalculator | null },
  q: TensorView,
  k: TensorView,
  call: CallOptions,
  ownerCount: number,
): Promise<StepView> {
  const { extents } = q;
  return {
    dtype: q.dtype,
    layout: extents.layout,
    batch: extents.batch,
    qHeads: extents.heads,
    kvHeads: k.extents.heads,
    headSize: extents.headSize,
    qRows: extents.rows,
    kvRows: k.extents.rows,
    mask: resolveMask(options, call, q, k, ownerCount),
    scale: Math.fround(options.scale ?? 1 / Math.sqrt(extents.headSize)),
    strategy: options.strategy ?? null,
    keep: options.keep ?? 'store',
    attentionMaskLengths: call.attentionMaskLengths === undefined ? null : [...call.attentionMaskLengths],
    attentionMaskExtent: call.attentionMaskExtent ?? call.attentionMask?.shape.at(-1) ?? null,
    kvCachePolicy: options.kvCachePolicy ?? null,
    kvCacheBudgetBytes: options.kvCacheBudgetBytes ?? null,
    kvCachePolicyUnaligned: options.kvCachePolicyUnaligned ?? false,
    ...(await gatherSizeView(options.gatherSizeCalculator, q, k, call)),
  };
}

function resolveMask(
  options: AttentionOptions,
  call: CallOptions,
  q: TensorView,
  k: TensorView,
  ownerCount: number,
): Mask {
  const mask = maskOfOptions(options);
  if (call.attentionMask === undefined) return mask;
  const { shape } = call.attentionMask;
  const sKv = shape.at(-1) ?? 0;
  const sQ = shape.length === 4 ? (shape[2] ?? 0) : q.extents.rows === k.extents.rows ? sKv : q.extents.rows;
  const tensor = classifyMask(call.attentionMask, { batch: q.extents.batch, sQ, sKv });
  if (mask.segments !== null || mask.validRanges !== null) {
    throw fieldError(
      'SHAPE_MISMATCH',
      'attentionMask',
      'a tensor',
      'absent when mask has segments or validRanges',
    );
  }
  if (shape.length !== 4) {
    if (tensor.validRanges !== null && ownerCount > 1 && q.extents.rows !== k.extents.rows) {
      // A mask of keys does not say how many queries there are, and no owner knows the others' shards.
      const expected =
        '[b, 1, s_q, s_kv], or mask.validRanges, as several owners hold other numbers of queries than of keys';
      throw fieldError('UNSUPPORTED', 'attentionMask.shape', shape, expected);
    }
    return { ...mask, validRanges: tensor.validRanges };
  }
  if (mask.left !== null || mask.right !== null) {
    throw fieldError(
      'SHAPE_MISMATCH',
      'attentionMask.shape',
      shape,
      '[s] or [b, s] when causal or mask sets a band',
    );
  }
  return tensor;
}

function maskOfOptions({ causal, mask }: AttentionOptions): Mask {
  const right = mask?.right ?? null;
  if (causal === true && right !== null && right !== 0) {
    throw fieldError('SHAPE_MISMATCH', 'mask.right', right, '0 or absent when causal is true');
  }
  return {
    left: mask?.left ?? null,
    right: causal === true ? 0 : right,
    segments: mask?.segments ?? null,
    validRanges: mask?.validRanges ?? null,
  };
}
