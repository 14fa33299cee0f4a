import { fieldError } from '@ulysses/errors';
import type { Mask, OwnerMask, Plan, RowRange, StepSpec, Strategy } from '@ulysses/plan';
import type { DType, Layout } from '@ulysses/tensor';
import type { WireInput, WireOutput } from '../load-proto.js';
import { enumFields, listFromProto, listToProto, required } from './fields.js';

export const dtype = enumFields<DType, 'D_TYPE_F32' | 'D_TYPE_BF16' | 'D_TYPE_F16'>({
  f32: 'D_TYPE_F32',
  bf16: 'D_TYPE_BF16',
  f16: 'D_TYPE_F16',
});

export const layout = enumFields<Layout, 'LAYOUT_SBHD' | 'LAYOUT_BSHD' | 'LAYOUT_THD'>({
  sbhd: 'LAYOUT_SBHD',
  bshd: 'LAYOUT_BSHD',
  thd: 'LAYOUT_THD',
});

export const strategy = enumFields<Strategy, 'STRATEGY_HEADS' | 'STRATEGY_BALANCED'>({
  heads: 'STRATEGY_HEADS',
  balanced: 'STRATEGY_BALANCED',
});

export function maskToProto({ left, right, segments, validRanges }: OwnerMask): WireInput<'Mask'> {
  return {
    ...(left === null ? {} : { left }),
    ...(right === null ? {} : { right }),
    cuSeqlensQ: listToProto(segments && segments.cuSeqlensQ, 'Mask.cu_seqlens_q'),
    cuSeqlensKv: listToProto(segments && segments.cuSeqlensKv, 'Mask.cu_seqlens_kv'),
    validQ: listToProto(validRanges && validRanges.q, 'Mask.valid_q'),
    validKv: listToProto(validRanges && validRanges.kv, 'Mask.valid_kv'),
  };
}

export function maskFromProto(message: WireOutput<'Mask'> | null, path: string): Mask {
  const mask = required(message, path, 'Mask');
  const segments = bothOrNone(path, ['cu_seqlens_q', mask.cuSeqlensQ], ['cu_seqlens_kv', mask.cuSeqlensKv]);
  const ranges = bothOrNone(path, ['valid_q', mask.validQ], ['valid_kv', mask.validKv]);
  return {
    left: mask.left ?? null,
    right: mask.right ?? null,
    segments: segments && { cuSeqlensQ: segments.q, cuSeqlensKv: segments.kv },
    validRanges: ranges && { q: ranges.q.map(rowRange), kv: ranges.kv.map(rowRange) },
  };
}

/** Of a view: valid ranges of queries may be left to the coordinator. */
export function ownerMaskFromProto(message: WireOutput<'Mask'> | null, path: string): OwnerMask {
  const mask = required(message, path, 'Mask');
  if (mask.validQ.length > 0 || mask.validKv.length === 0) return maskFromProto(mask, path);
  const { validKv, ...others } = mask;
  return {
    ...maskFromProto({ ...others, validKv: [] }, path),
    validRanges: { q: null, kv: validKv.map(rowRange) },
  };
}

export function rowRange({ begin, end }: RowRange): RowRange {
  return { begin, end };
}

/** Lists for queries and keys come together or not at all. */
function bothOrNone<T>(
  path: string,
  [qName, q]: readonly [string, readonly T[]],
  [kvName, kv]: readonly [string, readonly T[]],
): { q: readonly T[]; kv: readonly T[] } | null {
  if (q.length === 0 && kv.length === 0) return null;
  if (q.length > 0 && kv.length > 0) return { q, kv };
  const [empty, full] = q.length === 0 ? [qName, kvName] : [kvName, qName];
  throw fieldError('SHAPE_MISMATCH', `${path}.${empty}`, [], `a list, because ${full} has one`);
}

export function specToProto(spec: StepSpec): WireInput<'StepSpec'> {
  return {
    dtype: dtype.toProto(spec.dtype, 'StepSpec.dtype'),
    layout: layout.toProto(spec.layout, 'StepSpec.layout'),
    batch: spec.batch,
    qHeads: spec.qHeads,
    kvHeads: spec.kvHeads,
    headSize: spec.headSize,
    qSplits: [...spec.qSplits],
    kvSplits: [...spec.kvSplits],
    mask: maskToProto(spec.mask),
    scale: spec.scale,
    strategy: strategy.toProto(spec.strategy, 'StepSpec.strategy'),
    weights: listToProto(spec.weights, 'StepSpec.weights'),
  };
}

export function specFromProto(message: WireOutput<'StepSpec'> | null, path: string): StepSpec {
  const spec = required(message, path, 'StepSpec');
  return {
    dtype: dtype.fromProto(spec.dtype, `${path}.dtype`),
    layout: layout.fromProto(spec.layout, `${path}.layout`),
    batch: spec.batch,
    qHeads: spec.qHeads,
    kvHeads: spec.kvHeads,
    headSize: spec.headSize,
    qSplits: spec.qSplits,
    kvSplits: spec.kvSplits,
    mask: maskFromProto(spec.mask, `${path}.mask`),
    scale: spec.scale,
    strategy: strategy.fromProto(spec.strategy, `${path}.strategy`),
    weights: listFromProto(spec.weights),
  };
}

export function planToProto({ planId, cpSize, spec, cuts }: Plan): WireInput<'Plan'> {
  return { planId, cpSize, spec: specToProto(spec), cuts: [...cuts] };
}

/** Shapes only: whether the plan is right is for `verifyPlan` in @ulysses/plan to say. */
export function planFromProto(message: WireOutput<'Plan'> | null | undefined, path: string): Plan {
  const { planId, cpSize, spec, cuts } = required(message, path, 'Plan');
  return { planId, cpSize, spec: specFromProto(spec, `${path}.spec`), cuts };
}
