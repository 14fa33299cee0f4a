import { fieldError, toUlyssesError } from '@ulysses/errors';
import {
  DefaultGatherSizeCalculator,
  DynamicGatherSizeCalculator,
  type GatherSizeCalculator,
  type Mask,
} from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
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
  const custom = await customGatherSizes(options.gatherSizeCalculator, q, k, call);
  return {
    dtype: q.dtype,
    layout: extents.layout,
    batch: extents.batch,
    qHeads: extents.heads,
    kvHeads: k.extents.heads,
    headSize: extents.headSize,
    qRows: extents.rows,
    kvRows: k.extents.rows,
    mask: resolveMask(options),
    scale: Math.fround(options.scale ?? 1 / Math.sqrt(extents.headSize)),
    strategy: options.strategy ?? null,
    keep: options.keep ?? 'store',
    attentionMaskLengths: call.attentionMaskLengths === undefined ? null : [...call.attentionMaskLengths],
    attentionMaskExtent: call.attentionMaskExtent ?? null,
    calculatorArguments: call.kwargs === undefined ? null : JSON.stringify(call.kwargs),
    ...custom,
  };
}

function resolveMask({ causal, mask }: AttentionOptions): Mask {
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

type ResolvedGatherSizes = Pick<StepView, 'gatherSizeCalculator' | 'gatherSizeQ' | 'gatherSizeKv'>;

async function customGatherSizes(
  calculator: GatherSizeCalculator | null,
  q: TensorView,
  k: TensorView,
  call: CallOptions,
): Promise<ResolvedGatherSizes> {
  if (calculator === null) {
    return { gatherSizeCalculator: null, gatherSizeQ: null, gatherSizeKv: null };
  }
  if (calculator instanceof DefaultGatherSizeCalculator) {
    return { gatherSizeCalculator: 'default', gatherSizeQ: null, gatherSizeKv: null };
  }
  if (calculator instanceof DynamicGatherSizeCalculator) {
    return { gatherSizeCalculator: 'dynamic', gatherSizeQ: null, gatherSizeKv: null };
  }
  const calculate = async (tensor: 'q' | 'kv', view: TensorView): Promise<number | null> => {
    try {
      return await calculator.calculate({
        tensor,
        shardRows: [view.extents.rows],
        attentionMaskLengths: call.attentionMaskLengths ?? null,
        attentionMaskExtent: call.attentionMaskExtent ?? null,
        layout: view.extents.layout,
        kwargs: call.kwargs ?? {},
      });
    } catch (thrown) {
      const name = calculator.constructor.name;
      throw fieldError('SHAPE_MISMATCH', 'gatherSizeCalculator', name, 'a calculator that does not throw', {
        reason: toUlyssesError(thrown).message,
      });
    }
  };
  const gatherSizeQ = await calculate('q', q);
  const gatherSizeKv = q.extents.rows === k.extents.rows ? gatherSizeQ : await calculate('kv', k);
  if (gatherSizeQ === null || gatherSizeKv === null) {
    return { gatherSizeCalculator: 'default', gatherSizeQ: null, gatherSizeKv: null };
  }
  return { gatherSizeCalculator: null, gatherSizeQ, gatherSizeKv };
}
