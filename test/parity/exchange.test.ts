import { exchange, type Cluster, type DenseTensor, type ExchangeResult } from '@ulysses/client';
import { DTYPES, type DType } from '@ulysses/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { connectOwners, type Owners } from '../support/exchange-owners.js';
import { distinctTensor, evenBegins, sameBits, sliceAlong } from '../support/sliced-tensor.js';

const OWNERS = 8;

let cluster: TestCluster;
let owners: Owners;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: OWNERS });
  owners = await connectOwners(cluster.address, OWNERS);
});
afterAll(async () => {
  await owners.close();
  await cluster.stop();
});

/** Shards of a tensor along one dimension. */
function shards(tensor: DenseTensor, dim: number, begins: readonly number[]): DenseTensor[] {
  return begins.slice(1).map((end, i) => sliceAlong(tensor, dim, begins[i]!, end));
}

function expectBits(actual: DenseTensor, expected: DenseTensor, what: string): void {
  expect([actual.shape, actual.dtype], what).toEqual([expected.shape, expected.dtype]);
  expect(sameBits(actual, expected), what).toBe(true);
}

function all<T>(call: (cluster: Cluster, owner: number) => Promise<T>): Promise<T[]> {
  return Promise.all(owners.clusters.map(call));
}

/** Forward, compared with slices of the whole, then reverse, compared with the input. */
async function expectExchange(
  whole: DenseTensor,
  [scatterDim, gatherDim]: readonly [number, number],
  gatherBegins: readonly number[],
  scatterBegins: readonly number[] | null = null,
): Promise<ExchangeResult[]> {
  const inputs = shards(whole, gatherDim, gatherBegins);
  const cuts = scatterBegins ?? evenBegins(whole.shape[scatterDim]!, OWNERS);
  const splits = cuts.slice(1).map((end, i) => end - cuts[i]!);
  const explicit = scatterBegins === null ? {} : { scatterSplits: splits };
  const results = await all((connection, owner) =>
    exchange(connection, inputs[owner]!, { scatterDim, gatherDim, ...explicit }),
  );
  const expected = shards(whole, scatterDim, cuts);
  results.forEach(({ tensor, report }, owner) => {
    expectBits(tensor, expected[owner]!, `owner ${owner}, forward`);
    expect(report.scatterSplits).toEqual(splits);
  });
  const back = await all((_, owner) => results[owner]!.reverse(results[owner]!.tensor));
  back.forEach(({ tensor }, owner) => {
    expectBits(tensor, inputs[owner]!, `owner ${owner}, reverse`);
  });
  return results;
}

function orderedPairs(dims: number): [number, number][] {
  return Array.from({ length: dims * dims }, (_, i): [number, number] => [
    Math.floor(i / dims),
    i % dims,
  ]).filter(([scatterDim, gatherDim]) => scatterDim !== gatherDim);
}

describe('on 8 ranks, forward then reverse gives every bit back, and forward is the slices of the whole', () => {
  const small = [
    [9, 21, 15],
    [9, 21, 15, 10],
  ].flatMap((shape) => DTYPES.map((dtype): [number[], DType] => [shape, dtype]));
  it.each(small)('shape %j in %s, every pair of dimensions', async (shape, dtype) => {
    const whole = distinctTensor(shape, dtype);
    for (const pair of orderedPairs(shape.length)) {
      await expectExchange(whole, pair, evenBegins(shape[pair[1]]!, OWNERS));
    }
  });

  const long = [29, 51, 65, 57];
  it.each(orderedPairs(4).map((pair, i) => [...pair, DTYPES[i % 3]!] as const))(
    `shape ${JSON.stringify(long)}, scatter %i, gather %i, %s`,
    async (scatterDim, gatherDim, dtype) => {
      const begins = evenBegins(long[gatherDim]!, OWNERS);
      await expectExchange(distinctTensor(long, dtype), [scatterDim, gatherDim], begins);
    },
  );

  it('shards and parts of any size, none included', async () => {
    const whole = distinctTensor([5, 12, 3], 'f32');
    const gather = [0, 0, 7, 7, 7, 8, 12, 12, 12];
    const scatter = [0, 2, 2, 2, 2, 2, 2, 3, 5];
    const results = await expectExchange(whole, [0, 1], gather, scatter);
    expect(results.map(({ report }) => report.bytesSent)).toEqual(
      // Owner i holds 3 columns of the rows [gather i], and keeps what is its own part of dimension 0.
      [0, 7 * 5, 0, 0, 1 * 5, 4 * 5, 0, 0].map((rows) => rows * 3 * 4),
    );
    for (const pair of orderedPairs(3)) {
      await expectExchange(distinctTensor([2, 3, 1], 'bf16'), pair, evenBegins([2, 3, 1][pair[1]]!, OWNERS));
    }
  });

  it('rows beyond the gather size stay behind, and come back as zeros', async () => {
    // Padded along the second dimension: 21 rows, of which 13 are exchanged: owners 0 to 3 and half of owner 4.
    const whole = distinctTensor([4, 21, 9], 'f16');
    const inputs = shards(whole, 1, evenBegins(21, OWNERS));
    const options = { scatterDim: 2, gatherDim: 1, gatherSize: 13 };
    const results = await all((connection, owner) => exchange(connection, inputs[owner]!, options));
    const kept = sliceAlong(whole, 1, 0, 13);
    const expected = shards(kept, 2, evenBegins(9, OWNERS));
    results.forEach(({ tensor }, owner) => {
      expectBits(tensor, expected[owner]!, `owner ${owner}`);
    });
    expect(results[0]!.report.gatherSplits).toEqual([3, 3, 3, 3, 1, 0, 0, 0]);
    const back = await all((_, owner) => results[owner]!.reverse(results[owner]!.tensor));
    const zeroed = distinctTensor([4, 21, 9], 'f16');
    zeroed.data.forEach((_, i) => {
      if (Math.floor(i / 9) % 21 >= 13) zeroed.data[i] = 0;
    });
    const restored = shards(zeroed, 1, evenBegins(21, OWNERS));
    back.forEach(({ tensor }, owner) => {
      expectBits(tensor, restored[owner]!, `owner ${owner}, reverse`);
    });
    // And on: the reverse of the reverse is the forward again.
    const again = await all((_, owner) => back[owner]!.reverse(back[owner]!.tensor));
    again.forEach(({ tensor }, owner) => {
      expectBits(tensor, expected[owner]!, `owner ${owner}, again`);
    });
  });

  it('an aligned exchange gives the same, and refuses what does not divide', async () => {
    const whole = distinctTensor([8, 16], 'f32');
    const inputs = shards(whole, 0, evenBegins(8, OWNERS));
    const results = await all((connection, owner) =>
      exchange(connection, inputs[owner]!, { scatterDim: 1, gatherDim: 0, gatherSize: null }),
    );
    const expected = shards(whole, 1, evenBegins(16, OWNERS));
    results.forEach(({ tensor }, owner) => {
      expectBits(tensor, expected[owner]!, `owner ${owner}`);
    });
    const odd = sliceAlong(whole, 1, 0, 15);
    const oddShards = shards(odd, 0, evenBegins(8, OWNERS));
    const refused = await Promise.allSettled(
      owners.clusters.map((connection, owner) =>
        exchange(connection, oddShards[owner]!, { scatterDim: 1, gatherDim: 0, gatherSize: null }),
      ),
    );
    for (const outcome of refused) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'SHAPE_MISMATCH', details: { field: 'shape[1]', value: '15' } },
      });
    }
  });
});
