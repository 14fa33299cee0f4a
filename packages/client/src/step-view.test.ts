import { describe, expect, it } from 'vitest';
import { buildStepView } from './step-view.js';
import type { TensorView } from './tensor-view.js';

function tensor(rows: number): TensorView {
  const extents = { layout: 'sbhd', rows, batch: 1, heads: 1, headSize: 1 } as const;
  return { data: new Float32Array(rows), dtype: 'f32', extents };
}

/** The mask of a call whose key mask [s_kv] hides the last keys, with causal. */
async function maskOf(
  { qRows, kvRows, ownerCount }: { qRows: number; kvRows: number; ownerCount: number },
  sKv: number,
  hidden: number,
) {
  const visible = new Uint8Array(sKv).fill(1, 0, sKv - hidden);
  const call = { attentionMask: { visible, shape: [sKv] } };
  const options = { causal: true, gatherSizeCalculator: null };
  return (await buildStepView(options, tensor(qRows), tensor(kvRows), call, ownerCount)).mask;
}

describe('a mask of keys', () => {
  it('is of the queries too when shards have as many rows of both, on any number of owners', async () => {
    const validRanges = { q: [{ begin: 0, end: 50 }], kv: [{ begin: 0, end: 50 }] };
    expect(await maskOf({ qRows: 30, kvRows: 30, ownerCount: 2 }, 60, 10)).toMatchObject({ validRanges });
  });

  it('leaves all queries of a lone owner that has fewer', async () => {
    const validRanges = { q: [{ begin: 0, end: 20 }], kv: [{ begin: 0, end: 50 }] };
    expect(await maskOf({ qRows: 20, kvRows: 60, ownerCount: 1 }, 60, 10)).toMatchObject({ validRanges });
  });

  it('is refused when several owners hold other numbers of queries than of keys, unless it hides nothing', async () => {
    const shards = { qRows: 10, kvRows: 30, ownerCount: 2 };
    await expect(maskOf(shards, 60, 10)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      details: { field: 'attentionMask.shape', value: '[60]' },
    });
    expect(await maskOf(shards, 60, 0)).toMatchObject({ right: 0, validRanges: null });
  });
});
