import { fieldError } from '@ulysses/errors';
import { classifyMask, type GatherSizeCalculator, type Mask, type OwnerMask } from '@ulysses/plan';
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
    mask: resolveMask(options, call, q),
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

function resolveMask(options: AttentionOptions, call: CallOptions, q: TensorView): OwnerMask {
  const mask = maskOfOptions(options);
  if (call.attentionMask === undefined) return mask;
  const { shape } = call.attentionMask;
  const sKv = shape.at(-1) ?? 0;
  const sQ = shape.length === 4 ? (shape[2] ?? 0) : sKv;
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
    // How many queries there are, in the shards of all owners, is for the coordinator to say.
    return { ...mask, validRanges: tensor.validRanges && { q: null, kv: tensor.validRanges.kv } };
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
