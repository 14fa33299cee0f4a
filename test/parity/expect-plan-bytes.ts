import { createPlan, explainPlan, type Plan } from '@ulysses/plan';
import { expect } from 'vitest';
import type { OwnerDone } from '../support/cluster-step.js';
import type { ParityCase } from './cases.js';

/** The plan that a cluster makes of a case's step; its scale changes no byte. */
export function planOf(testCase: ParityCase): Plan {
  const { cpSize, batch, qHeads, kvHeads, headSize, mask, splits, strategy } = testCase;
  const right = mask === 'causal' ? 0 : null;
  return createPlan(
    {
      ...{ dtype: 'f32', layout: 'sbhd', batch, qHeads, kvHeads, headSize },
      ...{ qSplits: splits, kvSplits: splits, scale: 1, strategy, weights: null },
      mask: { left: null, right, segments: null, validRanges: null },
    },
    cpSize,
  );
}

/** Over all owners, what each pass moved is what the plan says, to the byte. */
export function expectPlanBytes(plan: Plan, owners: readonly OwnerDone[]): void {
  const report = explainPlan(plan);
  for (const pass of ['forward', 'backward'] as const) {
    const exchanged = owners.reduce((sum, owner) => sum + owner[pass].bytesExchanged, 0);
    const { ownersToRanks, ranksToOwners } = report[pass];
    expect(exchanged, pass).toBe(ownersToRanks + ranksToOwners);
  }
}
