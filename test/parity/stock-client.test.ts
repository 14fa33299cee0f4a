import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep, type WholeResult } from '../support/cluster-step.js';
import { shareOf } from '../support/share-of.js';
import { shardOf, stepInputs } from '../support/step-inputs.js';
import { StockOwner } from '../support/stock-owner.js';

const CP_SIZE = 3;
/** Every rank has a part of a head that another one has too. */
const SHAPE = { rows: 151, batch: 2, qHeads: 5, kvHeads: 1, headSize: 24 };
const INPUTS = stepInputs(SHAPE, 11);
/** An owner without rows among them, and more of them than ranks. */
const SPLITS = [60, 0, 31, 60];

let cluster: TestCluster;
let expected: WholeResult;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: CP_SIZE });
  expected = await runStep({ address: cluster.address, splits: SPLITS, attention: { causal: true } }, INPUTS);
});
afterAll(async () => {
  await cluster.stop();
});

describe('a sequence owner of grpc-js and the proto alone', () => {
  it.each(['relay', 'direct'] as const)(
    'gets the bits of the client in forward and backward by route %s',
    async (route) => {
      const session = randomUUID();
      const begins = SPLITS.map((_, owner) => SPLITS.slice(0, owner).reduce((sum, rows) => sum + rows, 0));
      const owners = SPLITS.map((rows, index) => {
        const begin = begins[index]!;
        const [q, k, v, dout] = [INPUTS.q, INPUTS.k, INPUTS.v, INPUTS.dout].map((tensor) =>
          shardOf(tensor, begin, begin + rows),
        );
        const share = { index, count: SPLITS.length, begin, shard: { q: q!, k: k!, v: v!, dout: dout! } };
        return new StockOwner(cluster.address, session, share, route);
      });
      try {
        for (const pass of ['forward', 'backward'] as const) {
          const results = await Promise.all(owners.map((owner) => owner[pass]()));
          results.forEach((tensors, owner) => {
            const begin = begins[owner]!;
            const share = shareOf(expected, SHAPE, pass, begin, begin + SPLITS[owner]!);
            expect(tensors.map(bits), `owner ${owner} in ${pass}`).toEqual(share.map(bits));
          });
        }
      } finally {
        for (const owner of owners) owner.close();
      }
    },
  );

  it('leaves nothing on the ranks after its backward', async () => {
    await cluster.untilStoreIsEmpty();
  });
});

function bits({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('hex');
}
