import type { ExchangePlan } from '@ulysses/plan';
import type { WireInput, WireOutput } from '../load-proto.js';
import type { ExchangeView } from '../messages.js';
import { listFromProto, listToProto, required, textFromProto } from './fields.js';
import { dtype, rowRange } from './plan.js';

export function exchangeViewToProto(view: ExchangeView): WireInput<'ExchangeView'> {
  return {
    dtype: dtype.toProto(view.dtype, 'ExchangeView.dtype'),
    shape: [...view.shape],
    scatterDim: view.scatterDim,
    gatherDim: view.gatherDim,
    ...(view.gatherSize === null ? {} : { gatherSize: view.gatherSize }),
    aligned: view.aligned,
    scatterRanges: listToProto(view.scatterRanges, 'ExchangeView.scatter_ranges'),
    gatherRanges: listToProto(view.gatherRanges, 'ExchangeView.gather_ranges'),
    purpose: view.purpose ?? '',
    failure: view.failure ?? '',
  };
}

export function exchangeViewFromProto(
  message: WireOutput<'ExchangeView'> | null | undefined,
  path: string,
): ExchangeView {
  const view = required(message, path, 'ExchangeView');
  return {
    dtype: dtype.fromProto(view.dtype, `${path}.dtype`),
    shape: view.shape,
    scatterDim: view.scatterDim,
    gatherDim: view.gatherDim,
    gatherSize: view.gatherSize ?? null,
    aligned: view.aligned,
    scatterRanges: listFromProto(view.scatterRanges.map(rowRange)),
    gatherRanges: listFromProto(view.gatherRanges.map(rowRange)),
    purpose: textFromProto(view.purpose),
    failure: textFromProto(view.failure),
  };
}

export function exchangePlanToProto({ planId, spec }: ExchangePlan): WireInput<'ExchangePlan'> {
  return {
    planId,
    spec: {
      dtype: dtype.toProto(spec.dtype, 'ExchangeSpec.dtype'),
      shape: [...spec.shape],
      scatterDim: spec.scatterDim,
      gatherDim: spec.gatherDim,
      scatterRanges: [...spec.scatterRanges],
      gatherRanges: [...spec.gatherRanges],
    },
  };
}

/** Shapes only: whether the plan is right is for `verifyExchangePlan` in @ulysses/plan to say. */
export function exchangePlanFromProto(
  message: WireOutput<'ExchangePlan'> | null | undefined,
  path: string,
): ExchangePlan {
  const plan = required(message, path, 'ExchangePlan');
  const spec = required(plan.spec, `${path}.spec`, 'ExchangeSpec');
  return {
    planId: plan.planId,
    spec: {
      dtype: dtype.fromProto(spec.dtype, `${path}.spec.dtype`),
      shape: spec.shape,
      scatterDim: spec.scatterDim,
      gatherDim: spec.gatherDim,
      scatterRanges: spec.scatterRanges.map(rowRange),
      gatherRanges: spec.gatherRanges.map(rowRange),
    },
  };
}
