import { describe, it } from 'vitest';
import { startCluster } from '../support/cluster.js';
import { runStep, type ClusterStep, type WholeResult } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { stepInputs } from '../support/step-inputs.js';

/** Heads, rows and KV heads all shared between ranks, four owners on three ranks: many sums have several orders. */
const INPUTS = stepInputs({ rows: 301, batch: 2, qHeads: 5, kvHeads: 1, headSize: 48 }, 3);
const SPLITS = [100, 0, 61, 140];

async function onCluster<T>(run: (address: string) => Promise<T>): Promise<T> {
  const cluster = await startCluster({ cpSize: 3 });
  try {
    return await run(cluster.address);
  } finally {
    await cluster.stop();
  }
}

describe('the bits of out, LSE, dq, dk and dv', () => {
  const step = (address: string, connection: ClusterStep['connection'] = {}): Promise<WholeResult> =>
    runStep({ address, splits: SPLITS, attention: { causal: true }, connection }, INPUTS);

  it('are the same in two runs, in two clusters, and when slices arrive in shuffled orders', async () => {
    const first = await onCluster(async (address) => {
      const once = await step(address);
      expectSameBits(await step(address), once);
      for (const seed of [1, 2, 3]) expectSameBits(await step(address, { sliceOrderSeed: seed }), once);
      return once;
    });
    expectSameBits(await onCluster((address) => step(address)), first);
  });

  it('are the same whichever way rows travel', async () => {
    await onCluster(async (address) => {
      const relayed = await step(address, { route: 'relay' });
      expectSameBits(await step(address, { route: 'direct' }), relayed);
      expectSameBits(await step(address, { route: 'direct', sliceOrderSeed: 1 }), relayed);
    });
  });
});
