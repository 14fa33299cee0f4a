import { UlyssesError, describe } from '@ulysses/errors';
import type { StepView } from '@ulysses/rpc';
import type { Alignment } from './kv-cache.js';

/** One owner's view of a step, by owner index. */
export type ViewsByOwner = ReadonlyMap<number, StepView>;

/**
 * Compares what the sequence owners said, field by field. On a disagreement the minority owner is named (on a tie, the
 * one that differs from owner 0), with the field and both values; every owner gets this same error.
 */
export function requireAgreement(
  views: ViewsByOwner,
  { aligned, remedy }: Pick<Alignment, 'aligned' | 'remedy'>,
): void {
  if (views.size < 2) return;
  for (const field of Object.keys(COMPARED) as (keyof typeof COMPARED)[]) {
    if (PER_OWNER.has(field) && !aligned) continue;
    const owners = [...views].map(([owner, view]) => ({ owner, value: describe(COMPARED[field](view)) }));
    const minority = findMinority(owners);
    if (minority !== null) {
      const { owner, value, others } = minority;
      const advice = PER_OWNER.has(field) ? `; an aligned exchange needs equal shards: ${remedy}` : '';
      const expected = `${others}, as the other owners have it${advice}`;
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
  dtype: (view: StepView) => view.dtype,
  layout: (view: StepView) => view.layout,
  batch: (view: StepView) => view.batch,
  q_heads: (view: StepView) => view.qHeads,
  kv_heads: (view: StepView) => view.kvHeads,
  head_size: (view: StepView) => view.headSize,
  mask: (view: StepView) => view.mask,
  scale: (view: StepView) => view.scale,
  strategy: (view: StepView) => view.strategy,
  keep: (view: StepView) => view.keep,
  attention_mask_lengths: (view: StepView) => view.attentionMaskLengths,
  attention_mask_extent: (view: StepView) => view.attentionMaskExtent,
  gather_size_calculator: (view: StepView) => view.gatherSizeCalculator,
  client_calculator: (view: StepView) => view.clientCalculator,
  gather_size_q: (view: StepView) => view.gatherSizeQ,
  gather_size_kv: (view: StepView) => view.gatherSizeKv,
  calculator_arguments: (view: StepView) => view.calculatorArguments,
  kv_cache_policy: (view: StepView) => view.kvCachePolicy,
  kv_cache_budget_bytes: (view: StepView) => view.kvCacheBudgetBytes,
  kv_cache_policy_unaligned: (view: StepView) => view.kvCachePolicyUnaligned,
  q_rows: (view: StepView) => view.qRows,
  kv_rows: (view: StepView) => view.kvRows,
} as const;

/** Shards may differ in length, except when the exchange is aligned. */
const PER_OWNER = new Set<string>(['q_rows', 'kv_rows']);

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
