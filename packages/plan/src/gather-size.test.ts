import { expect, test } from 'vitest';
import {
  DefaultGatherSizeCalculator,
  DynamicGatherSizeCalculator,
  resolveGatherSize,
  type GatherSizeCalculator,
  type GatherSizeInput,
} from './gather-size.js';

const input: GatherSizeInput = {
  tensor: 'q',
  shardRows: [100, 100, 50],
  attentionMaskLengths: null,
  attentionMaskExtent: null,
  layout: 'sbhd',
  kwargs: {},
};

class FromKwargs implements GatherSizeCalculator {
  calculate({ kwargs }: GatherSizeInput): number | null {
    return (kwargs.gather_size ?? null) as number | null;
  }
}

test('the default calculator means aligned', async () => {
  expect(await resolveGatherSize(new DefaultGatherSizeCalculator(), input)).toBeNull();
});

test.each([
  ['the last dimension of a mask tensor', { attentionMaskExtent: 240, attentionMaskLengths: [1] }, 240],
  ['the longest sample of a padded batch', { attentionMaskLengths: [3, 200, 0] }, 200],
  ['the sum of the samples of a packed batch', { attentionMaskLengths: [3, 200, 0], layout: 'thd' }, 203],
  ['every row there is when the batch has no mask', {}, 250],
] as const)('the dynamic calculator takes %s', async (_, changes, gatherSize) => {
  const calculator = new DynamicGatherSizeCalculator();
  expect(await resolveGatherSize(calculator, { ...input, ...changes })).toBe(gatherSize);
});

test("kwargs reach a calculator of the caller's own untouched", async () => {
  const calculator = new FromKwargs();
  expect(await resolveGatherSize(calculator, { ...input, kwargs: { gather_size: 249 } })).toBe(249);
  expect(await resolveGatherSize(calculator, input)).toBeNull();
});

test('a calculator may answer later', async () => {
  const calculator = { calculate: () => Promise.resolve(7) };
  expect(await resolveGatherSize(calculator, input)).toBe(7);
});

test.each([0, -1, 1.5, NaN, Infinity, 251, '250', undefined, {}])(
  'a gather size of %s is refused with calculator, value and expectation',
  async (gatherSize) => {
    const calculator = new FromKwargs();
    calculator.calculate = () => gatherSize as number;
    await expect(resolveGatherSize(calculator, { ...input, tensor: 'kv' })).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
      message: expect.stringMatching(
        /FromKwargs for tensor kv is .*expected null or an integer from 1 to 250/,
      ) as string,
      details: { calculator: 'FromKwargs', tensor: 'kv' },
    });
  },
);

test('a calculator that throws, or rejects, becomes one error with its reason', async () => {
  const thrown = new TypeError('no mask in this batch');
  const throwing: GatherSizeCalculator = {
    calculate() {
      throw thrown;
    },
  };
  const rejecting: GatherSizeCalculator = { calculate: () => Promise.reject(thrown) };
  for (const calculator of [throwing, rejecting]) {
    await expect(resolveGatherSize(calculator, input)).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
      message:
        'the custom gather size calculator failed for tensor q: no mask in this batch; expected a gather size or null',
      cause: thrown,
    });
  }
});

test('shards without a single row are refused whatever the calculator says', async () => {
  for (const gatherSize of [0, 1, null]) {
    const calculator = { calculate: () => gatherSize };
    await expect(resolveGatherSize(calculator, { ...input, shardRows: [0, 0] })).rejects.toThrow(
      'rows of all q shards is 0, expected at least 1',
    );
  }
});

test('a module that exports `calculate` is a calculator', async () => {
  const calculator = Object.assign(Object.create(null) as object, { calculate: () => 251 });
  await expect(resolveGatherSize(calculator, input)).rejects.toThrow('the custom gather size calculator');
});

test('lengths that are not counts of rows are refused', async () => {
  const calculator = new DynamicGatherSizeCalculator();
  await expect(
    resolveGatherSize(calculator, { ...input, attentionMaskLengths: [3, -2] }),
  ).rejects.toMatchObject({
    code: 'SHAPE_MISMATCH',
    message: expect.stringContaining('attentionMaskLengths[1] is -2') as string,
  });
});

test('a batch whose samples are all empty has no gather size', async () => {
  const calculator = new DynamicGatherSizeCalculator();
  await expect(resolveGatherSize(calculator, { ...input, attentionMaskLengths: [0, 0] })).rejects.toThrow(
    'DynamicGatherSizeCalculator for tensor q is 0',
  );
});
