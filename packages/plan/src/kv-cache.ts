import { rankTables } from './rank-table.js';
import type { Plan, RankTable, StepSpec } from './spec.js';
import { sumOf } from './split-sizes.js';
import { rowBytes, type CarriedTensor } from './step-bytes.js';

export const KEEPS = ['store', 'recompute', 'none'] as const;
/**
 * What is kept between forward and backward. store: on the ranks, what the KV-cache policy says. recompute: nothing, backward
 * brings the inputs again and computes out and lse anew. none: nothing, and there is no backward.
 */
export type Keep = (typeof KEEPS)[number];

export const KV_CACHE_POLICIES = ['none', 'half', 'full'] as const;
/**
 * How much of K and V is kept as the owners' shards before the exchange, and not gathered on the ranks: none of it, K
 * (half), or both (full). What the ranks do not keep is exchanged again in backward.
 */
export type KvCachePolicy = (typeof KV_CACHE_POLICIES)[number];

export const KV_CACHE_CHOICES = [...KV_CACHE_POLICIES, 'auto'] as const;
/** What a trainer or a cluster asks for: a policy, or `auto`, the first one that fits a byte budget. */
export type KvCacheChoice = (typeof KV_CACHE_CHOICES)[number];

const NOT_GATHERED: Readonly<Record<KvCachePolicy, readonly CarriedTensor[]>> = {
  none: [],
  half: ['k'],
  full: ['k', 'v'],
};

/** With `auto`, most bytes that one rank keeps of one forward when nobody says otherwise. */
export const KV_CACHE_BUDGET_BYTES = 128 * 2 ** 20;

/** What backward carries. With q among it, ranks kept nothing and compute out and lse again. */
export function carriedTensors(keep: Keep, policy: KvCachePolicy): readonly CarriedTensor[] {
  return keep === 'recompute' ? ['q', 'k', 'v'] : NOT_GATHERED[policy];
}

/** Bytes that one rank keeps between forward and backward: q, out, lse, and of K and V what the policy leaves gathered. */
export function keptBytes(spec: StepSpec, { units, kvIntervals }: RankTable, policy: KvCachePolicy): number {
  const bytes = rowBytes(spec);
  const rows = sumOf(units.map(({ qBegin, qEnd }) => qEnd - qBegin));
  const kvRows = sumOf(kvIntervals.map(({ begin, end }) => end - begin));
  const gathered = 2 - NOT_GATHERED[policy].length;
  return rows * (2 * bytes.element + bytes.lse) + gathered * kvRows * bytes.element;
}

/** `auto`: the first of none, half and full with which no rank keeps more than the budget; full when none does. */
export function chooseKvCachePolicy(plan: Plan, budgetBytes: number): KvCachePolicy {
  const tables = rankTables(plan);
  const fits = (policy: KvCachePolicy): boolean =>
    tables.every((table) => keptBytes(plan.spec, table, policy) <= budgetBytes);
  return KV_CACHE_POLICIES.find(fits) ?? 'full';
}
