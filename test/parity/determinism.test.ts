import { describe, expect, it } from 'vitest';
import { startCluster } from '../support/cluster.js';
import { runStep, type WholeResult } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { stepInputs } from '../support/step-inputs.js';

/** Heads, rows and KV heads all shared between ranks, four owners on three ranks: many sums have several orders. */
const INPUTS = stepInputs({ rows: 301, batch: 2, qHeads: 5, kvHeads: 1, headSize: 48 }, 3);
const SPLITS = [100, 0, 61, 140];
const CP_SIZE = 3;
/** Read by ranks when they start, and by trainers when they connect. */
const SEED = 'ULYSSES_TEST_SLICE_ORDER_SEED';

/** Two runs on a cluster whose ranks and trainers send slices in plan order, or all in an order shuffled by a seed. */
async function onCluster(
  seed: number | null,
  route: 'auto' | 'relay' | 'direct' = 'auto',
  transport: 'auto' | 'tcp' = 'auto',
): Promise<readonly [WholeResult, WholeResult]> {
  if (seed !== null) process.env[SEED] = String(seed);
  const cluster = await startCluster({ cpSize: CP_SIZE, env: { ULYSSES_TRANSPORT: transport } });
  const connection = { route, transport };
  try {
    const run = (): Promise<WholeResult> =>
      runStep({ address: cluster.address, splits: SPLITS, attention: { causal: true }, connection }, INPUTS);
    const results = [await run(), await run()] as const;
    const shuffling = cluster.log.filter((line) => line.includes('slices leave shuffled'));
    expect(shuffling).toHaveLength(seed === null ? 0 : CP_SIZE);
    return results;
  } finally {
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
    delete process.env[SEED];
    await cluster.stop();
  }
}

describe('the bits of out, LSE, dq, dk and dv', () => {
  it('are the same in two runs, in two clusters, and when every slice of both passes leaves in a shuffled order', async () => {
    const [once, twice] = await onCluster(null);
    expectSameBits(twice, once);
    for (const seed of [1, 2]) {
      for (const shuffled of await onCluster(seed)) expectSameBits(shuffled, once);
    }
  });

  it('are the same over every route and transport', async () => {
    const [relayed] = await onCluster(null, 'relay');
    for (const direct of await onCluster(null, 'direct')) expectSameBits(direct, relayed);
    for (const direct of await onCluster(1, 'direct')) expectSameBits(direct, relayed);
    for (const overTcp of await onCluster(null, 'relay', 'tcp')) expectSameBits(overTcp, relayed);
    for (const overTcp of await onCluster(null, 'direct', 'tcp')) expectSameBits(overTcp, relayed);
  });
});
