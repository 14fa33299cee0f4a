import { UlyssesError, describe } from '@ulysses/errors';
import type { PlanStep } from '@ulysses/rpc';
import type { Alignment } from './kv-cache.js';

/** What one owner asks for, as far as all have to ask for the same. */
export type OwnersPart = Pick<PlanStep, 'ownerIndex' | 'view' | 'forward' | 'releaseForward'>;

/**
 * Compares what the sequence owners said, field by field. On a disagreement the minority owner is named (on a tie, the
 * one that differs from owner 0), with the field and both values; every owner gets this same error.
 */
export function requireAgreement(
  parts: readonly OwnersPart[],
  { aligned, remedy }: Pick<Alignment, 'aligned' | 'remedy'>,
): void {
  if (parts.length < 2) return;
  for (const field of Object.keys(COMPARED) as (keyof typeof COMPARED)[]) {
    if (PER_OWNER.has(field) && !aligned) continue;
    const owners = parts.map((part) => ({ owner: part.ownerIndex, value: describe(COMPARED[field](part)) }));
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
  q_rows: ({ view }: OwnersPart) => view.qRows,
  kv_rows: ({ view }: OwnersPart) => view.kvRows,
  // Of backward: the forward that it belongs to, and whether its commit frees what that one kept.
  forward: ({ forward }: OwnersPart) => forward,
  release_forward: ({ releaseForward }: OwnersPart) => releaseForward,
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
