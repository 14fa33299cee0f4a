import { describe, expect, it } from 'vitest';
import { buildStepView } from './step-view.js';
import type { TensorView } from './tensor-view.js';

function tensor(rows: number): TensorView {
  const extents = { layout: 'sbhd', rows, batch: 1, heads: 1, headSize: 1 } as const;
  return { data: new Float32Array(rows), dtype: 'f32', extents };
}

/** The mask of a call whose key mask [s_kv] hides the last keys, with causal. */
async function maskOf(sKv: number, hidden: number) {
  const visible = new Uint8Array(sKv).fill(1, 0, sKv - hidden);
  const call = { attentionMask: { visible, shape: [sKv] } };
  const options = { causal: true, gatherSizeCalculator: null };
  return (await buildStepView(options, tensor(20), tensor(30), call)).mask;
}

describe('a mask of keys', () => {
  it('says nothing of the queries, whose number no owner knows', async () => {
    const validRanges = { q: null, kv: [{ begin: 0, end: 50 }] };
    expect(await maskOf(60, 10)).toEqual({ left: null, right: 0, segments: null, validRanges });
  });

  it('that hides nothing is no mask', async () => {
    expect(await maskOf(60, 0)).toEqual({ left: null, right: 0, segments: null, validRanges: null });
  });
});
