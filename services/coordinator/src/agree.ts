import { UlyssesError, describe } from '@ulysses/errors';
import { isExchangeView, type ExchangeView, type PlanStep, type StepView } from '@ulysses/rpc';
import type { Alignment } from './kv-cache.js';

/** What one owner asks for, as far as all have to ask for the same. */
export interface OwnersPart<View = StepView> extends Pick<
  PlanStep,
  'ownerIndex' | 'forward' | 'releaseForward'
> {
  readonly view: View;
}

/** Refuses owners of one step that want different things of it. */
export function requireOneOperation(parts: readonly OwnersPart<StepView | ExchangeView>[]): void {
  requireEqual(parts, { operation: ({ view }) => (isExchangeView(view) ? 'exchange' : 'attention') });
}

/**
 * Compares what the sequence owners said, field by field. On a disagreement the minority owner is named (on a tie, the
 * one that differs from owner 0), with the field and both values; every owner gets this same error.
 */
export function requireAgreement(
  parts: readonly OwnersPart[],
  { aligned, remedy }: Pick<Alignment, 'aligned' | 'remedy'>,
): void {
  requireEqual(parts, COMPARED);
  if (aligned) requireEqual(parts, PER_OWNER, `; an aligned exchange needs equal shards: ${remedy}`);
}

/** The same for an exchange alone. */
export function requireExchangeAgreement(parts: readonly OwnersPart<ExchangeView>[]): void {
  requireEqual(parts, COMPARED_EXCHANGE);
  const { shape = [], gatherDim = 0, aligned = false } = parts[0]?.view ?? {};
  const extent = (dim: number): Readonly<Record<string, (part: OwnersPart<ExchangeView>) => unknown>> => ({
    [`shape[${dim}]`]: ({ view }) => view.shape[dim],
  });
  // Shards differ along the gather dimension, unless the exchange is aligned.
  shape.forEach((_, dim) => {
    if (dim !== gatherDim) requireEqual(parts, extent(dim));
  });
  if (!aligned) return;
  const remedy = '; an aligned exchange needs equal shards, leave gatherSize out for any';
  requireEqual(parts, extent(gatherDim), remedy);
}

/** Compares one field after the other; `remedy` ends what is expected. */
function requireEqual<View>(
  parts: readonly OwnersPart<View>[],
  fields: Readonly<Record<string, (part: OwnersPart<View>) => unknown>>,
  remedy = '',
): void {
  if (parts.length < 2) return;
  for (const [field, valueOf] of Object.entries(fields)) {
    const owners = parts.map((part) => ({ owner: part.ownerIndex, value: describe(valueOf(part)) }));
    const minority = findMinority(owners);
    if (minority !== null) {
      const { owner, value, others } = minority;
      const expected = `${others}, as the other owners have it${remedy}`;
      throw new UlyssesError('STEP_MISMATCH', `owner ${owner}: ${field} is ${value}, expected ${expected}`, {
        field,
        value,
        expected,
        peer: `owner ${owner}`,
      });
    }
  }
}

/** What must be equal on every owner, named as on the wire. */
const COMPARED = {
  dtype: ({ view }: OwnersPart) => view.dtype,
  layout: ({ view }: OwnersPart) => view.layout,
  batch: ({ view }: OwnersPart) => view.batch,
  q_heads: ({ view }: OwnersPart) => view.qHeads,
  kv_heads: ({ view }: OwnersPart) => view.kvHeads,
  head_size: ({ view }: OwnersPart) => view.headSize,
  mask: ({ view }: OwnersPart) => view.mask,
  scale: ({ view }: OwnersPart) => view.scale,
  strategy: ({ view }: OwnersPart) => view.strategy,
  keep: ({ view }: OwnersPart) => view.keep,
  attention_mask_lengths: ({ view }: OwnersPart) => view.attentionMaskLengths,
  attention_mask_extent: ({ view }: OwnersPart) => view.attentionMaskExtent,
  gather_size_calculator: ({ view }: OwnersPart) => view.gatherSizeCalculator,
  client_calculator: ({ view }: OwnersPart) => view.clientCalculator,
  gather_size_q: ({ view }: OwnersPart) => view.gatherSizeQ,
  gather_size_kv: ({ view }: OwnersPart) => view.gatherSizeKv,
  calculator_arguments: ({ view }: OwnersPart) => view.calculatorArguments,
  kv_cache_policy: ({ view }: OwnersPart) => view.kvCachePolicy,
  kv_cache_budget_bytes: ({ view }: OwnersPart) => view.kvCacheBudgetBytes,
  kv_cache_policy_unaligned: ({ view }: OwnersPart) => view.kvCachePolicyUnaligned,
  // Of backward: the forward that it belongs to, and whether its commit frees what that one kept.
  forward: ({ forward }: OwnersPart) => forward,
  release_forward: ({ releaseForward }: OwnersPart) => releaseForward,
} as const;

/** Shards may differ in length, except when the exchange is aligned. */
const PER_OWNER = {
  q_rows: ({ view }: OwnersPart) => view.qRows,
  kv_rows: ({ view }: OwnersPart) => view.kvRows,
} as const;

const COMPARED_EXCHANGE = {
  purpose: ({ view }: OwnersPart<ExchangeView>) => view.purpose,
  dtype: ({ view }: OwnersPart<ExchangeView>) => view.dtype,
  dimensions: ({ view }: OwnersPart<ExchangeView>) => view.shape.length,
  scatter_dim: ({ view }: OwnersPart<ExchangeView>) => view.scatterDim,
  gather_dim: ({ view }: OwnersPart<ExchangeView>) => view.gatherDim,
  gather_size: ({ view }: OwnersPart<ExchangeView>) => view.gatherSize,
  aligned: ({ view }: OwnersPart<ExchangeView>) => view.aligned,
  scatter_ranges: ({ view }: OwnersPart<ExchangeView>) => view.scatterRanges,
  gather_ranges: ({ view }: OwnersPart<ExchangeView>) => view.gatherRanges,
} as const;

function findMinority(
  owners: readonly { owner: number; value: string }[],
): { owner: number; value: string; others: string } | null {
  const groups = new Map<string, number[]>();
  for (const { owner, value } of owners) groups.set(value, [...(groups.get(value) ?? []), owner]);
  if (groups.size < 2) return null;
  const ofOwner0 = owners.find(({ owner }) => owner === 0)?.value;
  const ranked = [...groups].sort(
    ([a, inA], [b, inB]) => inB.length - inA.length || Number(b === ofOwner0) - Number(a === ofOwner0),
  );
  const majority = ranked[0]?.[0] ?? '';
  const odd = owners.find(({ value }) => value !== majority);
  return odd === undefined ? null : { ...odd, others: majority };
}
