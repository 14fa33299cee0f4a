import { fieldError } from '@ulysses/errors';
import type { Keep, KvCacheChoice, KvCachePolicy } from '@ulysses/plan';
import type { WireInput, WireOutput } from '../load-proto.js';
import {
  CALCULATORS,
  isExchangeView,
  type CalculatorName,
  type PlanStep,
  type PlanStepUpdate,
  type StepView,
} from '../messages.js';
import { exchangeViewFromProto, exchangeViewToProto } from './exchange.js';
import { enumFields, listFromProto, listToProto, required, textFromProto } from './fields.js';
import { operationPlanFromProto, operationPlanToProto } from './operation-plan.js';
import { dtype, layout, maskToProto, ownerMaskFromProto, strategy } from './plan.js';
import { rankAddressToProto, rankAddressesFromProto } from './rank-address.js';
import {
  optionalStepKeyFromProto,
  optionalStepKeyToProto,
  stepKeyFromProto,
  stepKeyToProto,
} from './step-key.js';

export const keep = enumFields<Keep, 'KEEP_STORE' | 'KEEP_RECOMPUTE' | 'KEEP_NONE'>({
  store: 'KEEP_STORE',
  recompute: 'KEEP_RECOMPUTE',
  none: 'KEEP_NONE',
});

const POLICIES = {
  none: 'KV_CACHE_POLICY_NONE',
  half: 'KV_CACHE_POLICY_HALF',
  full: 'KV_CACHE_POLICY_FULL',
} as const;

/** What steps are resolved to; `auto` is refused. */
export const kvCachePolicy = enumFields<KvCachePolicy, (typeof POLICIES)[KvCachePolicy]>(POLICIES);

const kvCacheChoice = enumFields<KvCacheChoice, (typeof POLICIES)[KvCachePolicy] | 'KV_CACHE_POLICY_AUTO'>({
  ...POLICIES,
  auto: 'KV_CACHE_POLICY_AUTO',
});

export function viewToProto(view: StepView): WireInput<'StepView'> {
  return {
    dtype: dtype.toProto(view.dtype, 'StepView.dtype'),
    layout: layout.toProto(view.layout, 'StepView.layout'),
    batch: view.batch,
    qHeads: view.qHeads,
    kvHeads: view.kvHeads,
    headSize: view.headSize,
    qRows: view.qRows,
    kvRows: view.kvRows,
    mask: maskToProto(view.mask),
    scale: view.scale,
    strategy:
      view.strategy === null ? 'STRATEGY_UNSPECIFIED' : strategy.toProto(view.strategy, 'StepView.strategy'),
    keep: keep.toProto(view.keep, 'StepView.keep'),
    attentionMaskLengths: listToProto(view.attentionMaskLengths, 'StepView.attention_mask_lengths'),
    ...(view.attentionMaskExtent === null ? {} : { attentionMaskExtent: view.attentionMaskExtent }),
    ...(view.gatherSizeQ === null ? {} : { gatherSizeQ: view.gatherSizeQ }),
    ...(view.gatherSizeKv === null ? {} : { gatherSizeKv: view.gatherSizeKv }),
    gatherSizeCalculator: view.gatherSizeCalculator ?? '',
    calculatorArgumentsJson: view.calculatorArguments ?? '',
    kvCachePolicy:
      view.kvCachePolicy === null
        ? 'KV_CACHE_POLICY_UNSPECIFIED'
        : kvCacheChoice.toProto(view.kvCachePolicy, 'StepView.kv_cache_policy'),
    ...(view.kvCacheBudgetBytes === null ? {} : { kvCacheBudgetBytes: view.kvCacheBudgetBytes }),
    kvCachePolicyUnaligned: view.kvCachePolicyUnaligned,
    clientCalculator: view.clientCalculator ?? '',
  };
}

export function viewFromProto(message: WireOutput<'StepView'> | null | undefined, path: string): StepView {
  const view = required(message, path, 'StepView');
  return {
    dtype: dtype.fromProto(view.dtype, `${path}.dtype`),
    layout: layout.fromProto(view.layout, `${path}.layout`),
    batch: view.batch,
    qHeads: view.qHeads,
    kvHeads: view.kvHeads,
    headSize: view.headSize,
    qRows: view.qRows,
    kvRows: view.kvRows,
    mask: ownerMaskFromProto(view.mask, `${path}.mask`),
    scale: view.scale,
    strategy:
      view.strategy === 'STRATEGY_UNSPECIFIED' ? null : strategy.fromProto(view.strategy, `${path}.strategy`),
    keep: keep.fromProto(view.keep, `${path}.keep`),
    attentionMaskLengths: listFromProto(view.attentionMaskLengths),
    attentionMaskExtent: view.attentionMaskExtent ?? null,
    gatherSizeQ: view.gatherSizeQ ?? null,
    gatherSizeKv: view.gatherSizeKv ?? null,
    gatherSizeCalculator: calculatorFromProto(view.gatherSizeCalculator, `${path}.gather_size_calculator`),
    calculatorArguments: textFromProto(view.calculatorArgumentsJson),
    kvCachePolicy:
      view.kvCachePolicy === 'KV_CACHE_POLICY_UNSPECIFIED'
        ? null
        : kvCacheChoice.fromProto(view.kvCachePolicy, `${path}.kv_cache_policy`),
    kvCacheBudgetBytes: view.kvCacheBudgetBytes ?? null,
    kvCachePolicyUnaligned: view.kvCachePolicyUnaligned,
    clientCalculator: textFromProto(view.clientCalculator),
  };
}

function calculatorFromProto(text: string, path: string): CalculatorName | null {
  if (text === '') return null;
  const found = CALCULATORS.find((name) => name === text);
  if (found === undefined) throw fieldError('UNSUPPORTED', path, text, `one of ${CALCULATORS.join(', ')}`);
  return found;
}

export function planStepToProto(request: PlanStep): WireInput<'PlanStepRequest'> {
  return {
    step: stepKeyToProto(request.step),
    ownerIndex: request.ownerIndex,
    ownerCount: request.ownerCount,
    ...(isExchangeView(request.view)
      ? { exchange: exchangeViewToProto(request.view) }
      : { view: viewToProto(request.view) }),
    forward: optionalStepKeyToProto(request.forward),
    releaseForward: request.releaseForward,
    direct: request.direct,
  };
}

export function planStepFromProto(message: WireOutput<'PlanStepRequest'>, path: string): PlanStep {
  return {
    step: stepKeyFromProto(message.step, `${path}.step`),
    ownerIndex: message.ownerIndex,
    ownerCount: message.ownerCount,
    view:
      message.operation === 'exchange'
        ? exchangeViewFromProto(message.exchange, `${path}.exchange`)
        : viewFromProto(message.view, `${path}.view`),
    forward: optionalStepKeyFromProto(message.forward, `${path}.forward`),
    releaseForward: message.releaseForward,
    direct: message.direct,
  };
}

export function planStepUpdateToProto(update: PlanStepUpdate): WireInput<'PlanStepResponse'> {
  if (update.kind === 'committed') return { committed: {} };
  const { epoch, attempt, plan, ranks, paddingRows, paddingRowsNotExchanged, alignedByPolicy } = update;
  return {
    planned: {
      epoch,
      attempt,
      ...operationPlanToProto(plan),
      ranks: ranks.map(rankAddressToProto),
      paddingRows,
      paddingRowsNotExchanged,
      kvCachePolicy: kvCachePolicy.toProto(update.kvCachePolicy, 'Planned.kv_cache_policy'),
      alignedByPolicy,
    },
  };
}

export function planStepUpdateFromProto(
  message: WireOutput<'PlanStepResponse'>,
  path: string,
): PlanStepUpdate {
  if (message.update === 'committed') return { kind: 'committed' };
  const planned = required(message.planned, `${path}.update`, 'Planned or Committed');
  return {
    kind: 'planned',
    epoch: planned.epoch,
    attempt: planned.attempt,
    plan: operationPlanFromProto(planned, `${path}.planned`),
    ranks: rankAddressesFromProto(planned.ranks, `${path}.planned.ranks`),
    paddingRows: planned.paddingRows,
    paddingRowsNotExchanged: planned.paddingRowsNotExchanged,
    kvCachePolicy: kvCachePolicy.fromProto(planned.kvCachePolicy, `${path}.planned.kv_cache_policy`),
    alignedByPolicy: planned.alignedByPolicy,
  };
}
