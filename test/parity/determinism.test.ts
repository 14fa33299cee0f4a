import { beforeAll, describe, expect, it } from 'vitest';
import type { TlsFiles } from '@ulysses/client';
import { certificates } from '../support/certificates.js';
import { startCluster } from '../support/cluster.js';
import { runStep, type WholeResult } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { stepInputs } from '../support/step-inputs.js';

/**
 * Heads, rows and KV heads all shared between ranks, four owners on three ranks: many sums have several orders. Long enough that
 * a rank computes a unit in several granules.
 */
const INPUTS = stepInputs({ rows: 1801, batch: 1, qHeads: 5, kvHeads: 1, headSize: 16 }, 3);
const SPLITS = [600, 0, 361, 840];
const CP_SIZE = 3;
/** Read by ranks when they start, and by trainers when they connect. */
const SEED = 'ULYSSES_TEST_SLICE_ORDER_SEED';

/** What links are made of. Where little memory is shared, rows are staged in it, and those that find no room travel as payload. */
const LINKS = {
  pool: { transport: 'auto', sharedBytes: 2 ** 26 },
  staged: { transport: 'auto', sharedBytes: 2 ** 21 },
  unix: { transport: 'unix', sharedBytes: 2 ** 26 },
  tcp: { transport: 'tcp', sharedBytes: 2 ** 26 },
} as const;
type Links = (typeof LINKS)[keyof typeof LINKS];

/** Two runs on a cluster whose ranks and trainers send slices in plan order, or all in an order shuffled by a seed. */
async function onCluster(
  seed: number | null,
  route: 'auto' | 'relay' | 'direct' = 'auto',
  { transport, sharedBytes }: Links = LINKS.pool,
  tls: TlsFiles | null = null,
): Promise<readonly [WholeResult, WholeResult]> {
  if (seed !== null) process.env[SEED] = String(seed);
  const cluster = await startCluster({
    cpSize: CP_SIZE,
    tls,
    env: { ULYSSES_TRANSPORT: transport, ULYSSES_SHARED_MEMORY: `${sharedBytes}B` },
  });
  const connection = { route, transport, sharedBytes, tls };
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

  describe('are the same as relayed through shared memory', () => {
    let relayed: WholeResult;
    beforeAll(async () => {
      [relayed] = await onCluster(null, 'relay');
    });

    it('over the direct route', async () => {
      for (const direct of await onCluster(null, 'direct')) expectSameBits(direct, relayed);
      for (const direct of await onCluster(1, 'direct')) expectSameBits(direct, relayed);
    });

    it.each(['staged', 'unix', 'tcp'] as const)('over both routes when links are %s', async (links) => {
      for (const other of await onCluster(null, 'relay', LINKS[links])) expectSameBits(other, relayed);
      for (const other of await onCluster(null, 'direct', LINKS[links])) expectSameBits(other, relayed);
    });

    it('over both routes when links are mutual TLS', async () => {
      const tls = (await certificates()).member;
      for (const overTls of await onCluster(null, 'relay', LINKS.tcp, tls)) expectSameBits(overTls, relayed);
      for (const overTls of await onCluster(1, 'direct', LINKS.tcp, tls)) expectSameBits(overTls, relayed);
    });
  });
});
