import { beforeAll, describe, it } from 'vitest';
import { certificates } from '../support/certificates.js';
import type { WholeResult } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { stepInputs } from '../support/step-inputs.js';
import { onLinks, type LinkedRun, type Links } from './on-links.js';

/**
 * Heads, rows and KV heads all shared between ranks, four owners on three ranks: many sums have several orders. Long enough that
 * a rank computes a unit in several granules.
 */
const INPUTS = stepInputs({ rows: 1801, batch: 1, qHeads: 5, kvHeads: 1, headSize: 16 }, 3);
/** One size of shared memory: the first connection of a process decides it. `staged.test.ts` has another. */
const LINKS = {
  pool: { kind: 'pool', transport: 'auto', sharedBytes: 2 ** 26 },
  unix: { kind: 'unix', transport: 'unix', sharedBytes: 2 ** 26 },
  tcp: { kind: 'tcp', transport: 'tcp', sharedBytes: 2 ** 26 },
} as const satisfies Record<string, Links>;

/** Two runs over links of a kind. */
async function runs(
  kind: keyof typeof LINKS,
  run: Omit<LinkedRun, 'links'> = {},
): Promise<readonly [WholeResult, WholeResult]> {
  return await onLinks(INPUTS, { links: LINKS[kind], ...run });
}

describe('the bits of out, LSE, dq, dk and dv', () => {
  it('are the same in two runs, in two clusters, and when every slice of both passes leaves in a shuffled order', async () => {
    const [once, twice] = await runs('pool');
    expectSameBits(twice, once);
    for (const seed of [1, 2]) {
      for (const shuffled of await runs('pool', { seed })) expectSameBits(shuffled, once);
    }
  });

  describe('are the same as relayed through shared memory', () => {
    let relayed: WholeResult;
    beforeAll(async () => {
      [relayed] = await runs('pool', { route: 'relay' });
    });

    it('over the direct route', async () => {
      for (const direct of await runs('pool', { route: 'direct' })) expectSameBits(direct, relayed);
      for (const direct of await runs('pool', { route: 'direct', seed: 1 })) expectSameBits(direct, relayed);
    });

    it.each(['unix', 'tcp'] as const)('over both routes when links are %s', async (links) => {
      for (const other of await runs(links, { route: 'relay' })) expectSameBits(other, relayed);
      for (const other of await runs(links, { route: 'direct' })) expectSameBits(other, relayed);
    });

    it('over both routes when links are mutual TLS', async () => {
      const tls = (await certificates()).member;
      for (const overTls of await runs('tcp', { route: 'relay', tls })) expectSameBits(overTls, relayed);
      for (const overTls of await runs('tcp', { route: 'direct', seed: 1, tls }))
        expectSameBits(overTls, relayed);
    });
  });
});
