import { UlyssesError } from '@ulysses/errors';
import type { StepKey, StepView } from '@ulysses/rpc';
import { describe, expect, it } from 'vitest';
import { requireAgreement, type OwnersPart } from './agree.js';
import { SAMPLE_VIEW } from './sample-view.js';

/** One field that differs: a value of the right type that is not SAMPLE_VIEW's. */
const CHANGES: { readonly [field: string]: Partial<StepView> } = {
  dtype: { dtype: 'bf16' },
  layout: { layout: 'bshd' },
  batch: { batch: 2 },
  q_heads: { qHeads: 4 },
  kv_heads: { kvHeads: 4 },
  head_size: { headSize: 32 },
  mask: { mask: { left: 3, right: 0, segments: null, validRanges: null } },
  scale: { scale: 0.5 },
  strategy: { strategy: 'heads' },
  keep: { keep: 'none' },
  attention_mask_lengths: { attentionMaskLengths: [40] },
  attention_mask_extent: { attentionMaskExtent: 40 },
  gather_size_calculator: { gatherSizeCalculator: 'default' },
  client_calculator: { clientCalculator: 'Half' },
  gather_size_q: { gatherSizeQ: 40 },
  gather_size_kv: { gatherSizeKv: 40 },
  calculator_arguments: { calculatorArguments: '{"gather_size":40}' },
  kv_cache_policy: { kvCachePolicy: 'half' },
  kv_cache_budget_bytes: { kvCacheBudgetBytes: 4096 },
  kv_cache_policy_unaligned: { kvCachePolicyUnaligned: true },
};

const FORWARD: StepKey = { job: 'job', session: 'session', call: 3, pass: 'forward', attempt: 0 };
/** The same for what a backward says beside its view. */
const BACKWARD_CHANGES: { readonly [field: string]: Partial<OwnersPart> } = {
  forward: { forward: { ...FORWARD, attempt: 1 } },
  release_forward: { releaseForward: false },
};

const REMEDY = 'use something else';

function disagreement(views: readonly StepView[], aligned = false): UlyssesError {
  return disagreementOf(views.map(forwardOf), aligned);
}

function forwardOf(view: StepView, ownerIndex: number): OwnersPart {
  return { ownerIndex, view, forward: null, releaseForward: false };
}

function disagreementOf(parts: readonly OwnersPart[], aligned = false): UlyssesError {
  try {
    requireAgreement(parts, { aligned, remedy: REMEDY });
  } catch (error) {
    if (error instanceof UlyssesError) return error;
  }
  throw new Error('the views were taken to agree');
}

describe('agreement of sequence owners', () => {
  it.each(Object.entries(CHANGES))(
    'a different %s names the minority owner, the field and both values',
    (field, change) => {
      const error = disagreement([SAMPLE_VIEW, SAMPLE_VIEW, { ...SAMPLE_VIEW, ...change }, SAMPLE_VIEW]);
      expect(error.code).toBe('STEP_MISMATCH');
      expect(error.details).toMatchObject({ field, peer: 'owner 2' });
      expect(error.message).toContain('owner 2');
      expect(error.message).toContain(String(error.details['value']));
      expect(error.message).toContain('as the other owners have it');
    },
  );

  it.each(Object.entries(BACKWARD_CHANGES))('so does a different %s in backward', (field, change) => {
    const part = { view: SAMPLE_VIEW, forward: FORWARD, releaseForward: true };
    const parts: OwnersPart[] = [0, 1, 2].map((ownerIndex) => ({ ...part, ownerIndex }));
    const error = disagreementOf(parts.with(1, { ...part, ...change, ownerIndex: 1 }));
    expect(error.code).toBe('STEP_MISMATCH');
    expect(error.details).toMatchObject({ field, peer: 'owner 1' });
    expect(error.message).toContain('as the other owners have it');
  });

  it('on a tie the owner that differs from owner 0 is named', () => {
    const other = { ...SAMPLE_VIEW, qHeads: 4 };
    expect(disagreement([SAMPLE_VIEW, SAMPLE_VIEW, other, other]).details.peer).toBe('owner 2');
    expect(disagreement([SAMPLE_VIEW, other]).details).toMatchObject({ peer: 'owner 1', value: '4' });
  });

  it('owner 0 is named when it is the minority', () => {
    expect(disagreement([{ ...SAMPLE_VIEW, headSize: 32 }, SAMPLE_VIEW, SAMPLE_VIEW]).details.peer).toBe(
      'owner 0',
    );
  });

  it('shards of different length agree unless the exchange is aligned', () => {
    const views = [SAMPLE_VIEW, { ...SAMPLE_VIEW, qRows: 9, kvRows: 9 }, SAMPLE_VIEW];
    expect(() => {
      requireAgreement(views.map(forwardOf), { aligned: false, remedy: REMEDY });
    }).not.toThrow();
    const error = disagreement(views, true);
    expect(error.details).toMatchObject({ field: 'q_rows', peer: 'owner 1' });
    expect(error.message).toContain(REMEDY);
  });
});
