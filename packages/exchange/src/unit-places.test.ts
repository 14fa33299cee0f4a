import { regionStats } from '@ulysses/native';
import { createPlan, keptBytes, KV_CACHE_POLICIES, type StepSpec } from '@ulysses/plan';
import { expect, it } from 'vitest';
import { unitExchange } from './unit-owner.js';
import { allocateForward, completeMemory, freeMemory, keepMemory } from './unit-places.js';

/** 5 heads, one of them on two ranks, and one KV head that all read. */
const SPEC: StepSpec = {
  dtype: 'f32',
  layout: 'sbhd',
  batch: 1,
  qHeads: 5,
  kvHeads: 1,
  headSize: 16,
  qSplits: [200, 57],
  kvSplits: [200, 57],
  mask: { left: null, right: 0, segments: null, validRanges: null },
  scale: 1,
  strategy: 'balanced',
  weights: null,
};

it.each(KV_CACHE_POLICIES)(
  'a rank holds what the plan says it keeps with policy %s, and the rest again for a backward',
  (policy) => {
    const plan = createPlan(SPEC, 2);
    for (let rank = 0; rank < plan.cpSize; rank++) {
      const { places } = unitExchange(plan, rank);
      const before = regionStats().allocatedBytes;
      // Regions are whole blocks, a little larger than asked for.
      const held = (): number => regionStats().allocatedBytes - before;
      const memory = allocateForward(places);
      const whole = held();
      const ofK = memory.k.sizeBytes;
      const kept = keepMemory(memory, policy);
      const bytes = Object.values(kept).reduce((sum, region) => sum + region.sizeBytes, 0);
      expect(bytes).toBe(keptBytes(plan.spec, places.table, policy));
      const heldAfter = held();
      expect(whole - heldAfter).toBeGreaterThanOrEqual({ none: 0, half: ofK, full: 2 * ofK }[policy]);

      const { forward, free } = completeMemory(places, kept);
      expect(held()).toBe(whole);
      expect(Object.keys(forward).sort()).toEqual(Object.keys(memory).sort());
      free();
      expect(held()).toBe(heldAfter);
      freeMemory(kept);
      expect(held()).toBe(0);
    }
  },
);
