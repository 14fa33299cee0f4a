import type { KvCacheChoice } from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import { describe, expect, it } from 'vitest';
import { Calculators } from './calculators.js';
import { alignmentOf, type KvCacheDefaults } from './kv-cache.js';
import { SAMPLE_VIEW } from './sample-view.js';

const DEFAULTS: KvCacheDefaults = { policy: 'none', unaligned: false, budgetBytes: 1 };
const calculators = await Calculators.load('dynamic');

const align = (view: Partial<StepView>, defaults: Partial<KvCacheDefaults> = {}): unknown[] => {
  const { aligned, byPolicy } = alignmentOf({ ...SAMPLE_VIEW, ...view }, calculators, {
    ...DEFAULTS,
    ...defaults,
  });
  return [aligned, byPolicy];
};
const NO = [false, false];
const BY_POLICY = [true, true];
const BY_CALCULATOR = [true, false];

describe('a KV-cache policy aligns the exchange', () => {
  it.each<[KvCacheChoice | null, unknown[]]>([
    [null, NO],
    ['none', NO],
    ['auto', NO],
    ['half', BY_POLICY],
    ['full', BY_POLICY],
  ])('when a trainer or the cluster asks for half or full: %s', (policy, expected) => {
    expect(align({ kvCachePolicy: policy })).toEqual(expected);
    expect(align({}, { policy: policy ?? 'none' })).toEqual(expected);
  });

  it('unless the trainer or the cluster opted out', () => {
    expect(align({ kvCachePolicy: 'full', kvCachePolicyUnaligned: true })).toEqual(NO);
    expect(align({ kvCachePolicy: 'full' }, { unaligned: true })).toEqual(NO);
  });

  it('whatever is kept, so that a forward that is not stored after all has the same plan', () => {
    for (const keep of ['recompute', 'none'] as const) {
      expect(align({ kvCachePolicy: 'half', keep })).toEqual(BY_POLICY);
    }
  });

  it('over a calculator that ran in the client, and the trainer goes before the cluster', () => {
    expect(align({ kvCachePolicy: 'half', gatherSizeQ: 20, gatherSizeKv: 20 })).toEqual(BY_POLICY);
    expect(align({ kvCachePolicy: 'none' }, { policy: 'full' })).toEqual(NO);
  });

  it('and does not say so when the calculator did already', () => {
    expect(align({ kvCachePolicy: 'full', gatherSizeCalculator: 'default' })).toEqual(BY_CALCULATOR);
  });
});
