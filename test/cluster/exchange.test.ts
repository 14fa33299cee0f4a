import {
  exchange,
  UlyssesContextAttention,
  type Cluster,
  type DenseTensor,
  type ExchangeOptions,
} from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { connectOwners } from '../support/exchange-owners.js';
import { distinctTensor } from '../support/sliced-tensor.js';
import { stepInputs } from '../support/step-inputs.js';

const RANKS = 3;
const OPTIONS: ExchangeOptions = { scatterDim: 1, gatherDim: 0, deadlineMs: 10_000 };

let cluster: TestCluster;
const closers: (() => Promise<void>)[] = [];
beforeAll(async () => {
  cluster = await startCluster({ cpSize: RANKS });
});
afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()));
});
afterAll(async () => {
  await cluster.stop();
});

async function owners(count = RANKS): Promise<readonly Cluster[]> {
  const { clusters, close } = await connectOwners(cluster.address, count);
  closers.push(close);
  return clusters;
}

/** What every call failed with. */
async function failures(calls: readonly Promise<unknown>[]): Promise<UlyssesError[]> {
  const outcomes = await Promise.allSettled(calls);
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected' && outcome.reason instanceof UlyssesError) return outcome.reason;
    throw new Error(`expected a UlyssesError: ${JSON.stringify(outcome)}`);
  });
}

const SHARD = distinctTensor([4, 7, 2], 'f32');

describe('owners of an exchange that disagree are all told who, the field and both values', () => {
  it.each<[string, DenseTensor, ExchangeOptions, string, string, string]>([
    ['an extent', distinctTensor([4, 6, 2], 'f32'), OPTIONS, 'shape[1]', '6', '7'],
    ['the number of dimensions', distinctTensor([4, 7], 'f32'), OPTIONS, 'dimensions', '2', '3'],
    ['the dtype', distinctTensor([4, 7, 2], 'f16'), OPTIONS, 'dtype', '"f16"', '"f32"'],
    ['the scatter dimension', SHARD, { ...OPTIONS, scatterDim: 2 }, 'scatter_dim', '2', '1'],
    ['the gather dimension', SHARD, { ...OPTIONS, gatherDim: 2 }, 'gather_dim', '2', '0'],
    ['the gather size', SHARD, { ...OPTIONS, gatherSize: 11 }, 'gather_size', '11', 'null'],
    ['aligned or not', SHARD, { ...OPTIONS, gatherSize: null }, 'aligned', 'true', 'false'],
    [
      'explicit splits',
      SHARD,
      { ...OPTIONS, scatterSplits: [7, 0, 0] },
      'scatter_ranges',
      '[{"begin":0,"end":7},{"begin":7,"end":7},{"begin":7,"end":7}]',
      'null',
    ],
  ])('%s', async (_, tensor, options, field, value, others) => {
    const odd = 1;
    const calls = (await owners()).map((connection, owner) =>
      owner === odd ? exchange(connection, tensor, options) : exchange(connection, SHARD, OPTIONS),
    );
    for (const error of await failures(calls)) {
      expect(error.code).toBe('STEP_MISMATCH');
      expect(error.details).toMatchObject({ field, value, peer: `owner ${odd}` });
      expect(error.message).toContain(`expected ${others}`);
    }
  });

  it('shards of different extents, where they must be equal', async () => {
    const shards = [SHARD, SHARD, distinctTensor([3, 7, 2], 'f32')];
    const options = { ...OPTIONS, gatherSize: null };
    const calls = (await owners()).map((connection, owner) => exchange(connection, shards[owner]!, options));
    for (const error of await failures(calls)) {
      expect(error.details).toMatchObject({ field: 'shape[0]', value: '3', peer: 'owner 2' });
      expect(error.message).toContain('leave gatherSize out');
    }
  });

  it('attention at one, an exchange at the others', async () => {
    const { q } = stepInputs({ rows: 4, batch: 1, qHeads: 3, kvHeads: 3, headSize: 8 }, 1);
    const calls = (await owners()).map((connection, owner) =>
      owner === 2
        ? new UlyssesContextAttention(null, connection).forward(q, q, q)
        : exchange(connection, SHARD, OPTIONS),
    );
    for (const error of await failures(calls)) {
      expect(error.code).toBe('STEP_MISMATCH');
      expect(error.details).toMatchObject({ field: 'operation', value: '"attention"', peer: 'owner 2' });
    }
  });
});

describe('an exchange that cannot work', () => {
  it('has another number of owners than ranks: says how many it takes', async () => {
    const calls = (await owners(2)).map((connection) => exchange(connection, SHARD, OPTIONS));
    for (const error of await failures(calls)) {
      expect(error.code).toBe('SHAPE_MISMATCH');
      expect(error.details).toMatchObject({ field: 'owner_count', value: '2' });
      expect(error.message).toContain('3, the cp_size');
    }
  });

  it('gathers more than there is', async () => {
    const options = { ...OPTIONS, gatherSize: 13 };
    const calls = (await owners()).map((connection) => exchange(connection, SHARD, options));
    for (const error of await failures(calls)) {
      expect(error.code).toBe('SHAPE_MISMATCH');
      expect(error.details).toMatchObject({ field: 'gather_size', value: '13' });
      expect(error.message).toContain('from 1 to 12');
    }
  });

  it.each<[string, DenseTensor, Partial<ExchangeOptions>]>([
    ['tensor.shape', { ...SHARD, shape: [56] }, {}],
    ['tensor.shape[1]', { ...SHARD, shape: [4, 1.5, 2] }, {}],
    ['tensor.data', { ...SHARD, dtype: 'f16' }, {}],
    ['tensor.data.length', { ...SHARD, shape: [4, 7, 3] }, {}],
    ['scatterDim', SHARD, { scatterDim: 3 }],
    ['scatterDim', SHARD, { scatterDim: 0 }],
    ['gatherDim', SHARD, { gatherDim: -1 }],
    ['gatherSize', SHARD, { gatherSize: 0 }],
    ['scatterSplits', SHARD, { scatterSplits: [3, 3, 3] }],
    ['scatterSplits', SHARD, { scatterSplits: [3, 4] }],
  ])('is refused before anybody is asked: %s', async (field, tensor, change) => {
    const [connection] = await owners();
    const [error] = await failures([exchange(connection!, tensor, { ...OPTIONS, ...change })]);
    expect(error).toMatchObject({ code: 'SHAPE_MISMATCH', details: { field } });
  });
});

describe('an exchange that is not finished', () => {
  it('names the owner that did not call at the deadline', async () => {
    const [first, , third] = await owners();
    const options = { ...OPTIONS, deadlineMs: 1_000 };
    const calls = [first!, third!].map((connection) => exchange(connection, SHARD, options));
    for (const error of await failures(calls)) {
      expect(error.code).toBe('DEADLINE');
      expect(error.message).toContain('owner 1 of 3 did not call');
    }
  });

  it('is cancelled by one of its callers in the middle: the others are told, and nothing is left', async () => {
    // 36 MB in short runs.
    const shard = distinctTensor([250_000, 12], 'f32');
    const abort = new AbortController();
    const options = { ...OPTIONS, deadlineMs: 3_000 };
    const calls = (await owners()).map((connection, owner) =>
      exchange(connection, shard, owner === 0 ? { ...options, signal: abort.signal } : options),
    );
    const ended = failures(calls);
    await cluster.untilStepRuns();
    abort.abort();
    const [first, ...others] = await ended;
    expect(first!.code).toBe('CANCELLED');
    // They repeat the step until their deadline, but owner 0 does not come again.
    for (const { code } of others) expect(['DEADLINE', 'PEER_LOST']).toContain(code);
    await cluster.untilIdle();
  });

  it('the cluster serves the next exchange', async () => {
    const results = await Promise.all(
      (await owners()).map((connection) => exchange(connection, SHARD, OPTIONS)),
    );
    expect(results.map(({ tensor }) => tensor.shape)).toEqual([
      [12, 3, 2],
      [12, 2, 2],
      [12, 2, 2],
    ]);
  });
});
