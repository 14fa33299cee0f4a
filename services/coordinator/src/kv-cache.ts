import { chooseKvCachePolicy, type KvCacheChoice, type KvCachePolicy, type Plan } from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import type { Calculators } from './calculators.js';

/** What the cluster does for trainers that do not say. */
export interface KvCacheDefaults {
  readonly policy: KvCacheChoice;
  /** Half and full leave the exchange as the calculator says. */
  readonly unaligned: boolean;
  /** With auto: most bytes that one rank keeps of one forward. */
  readonly budgetBytes: number;
}

/** Whether a step's exchange is aligned, why, and what to change when that does not suit. */
export interface Alignment {
  readonly aligned: boolean;
  /** The policy did it: the calculator would not have. */
  readonly byPolicy: boolean;
  readonly remedy: string;
}

/**
 * Half and full align the exchange, whatever `keep` says: a forward that is not stored after all has the plan it would have
 * had. `auto` does not: choosing it never makes a step impossible.
 */
export function alignmentOf(view: StepView, calculators: Calculators, defaults: KvCacheDefaults): Alignment {
  const choice = view.kvCachePolicy ?? defaults.policy;
  const asked = choice === 'half' || choice === 'full';
  const unaligned = view.kvCachePolicyUnaligned || defaults.unaligned;
  const byCalculator = calculators.isAligned(view);
  const byPolicy = asked && !unaligned && !byCalculator;
  return {
    aligned: byCalculator || byPolicy,
    byPolicy,
    remedy: byPolicy
      ? `KV-cache policy ${choice} aligns it, which kvCachePolicyUnaligned (--kv-cache-policy-unaligned) prevents`
      : 'use DynamicGatherSizeCalculator for an unaligned one',
  };
}

/** The one policy of a step, the same in its forward and its backward. */
export function resolveKvCachePolicy(view: StepView, plan: Plan, defaults: KvCacheDefaults): KvCachePolicy {
  const choice = view.kvCachePolicy ?? defaults.policy;
  if (choice !== 'auto') return choice;
  return chooseKvCachePolicy(plan, view.kvCacheBudgetBytes ?? defaults.budgetBytes);
}
