import fc from 'fast-check';
import { expect, test } from 'vitest';
import { clipSplits, splitSizes } from './split-sizes.js';

test.each([
  // total, parts, sizes
  [8190, 4, [2048, 2048, 2047, 2047]],
  [8, 4, [2, 2, 2, 2]],
  [28, 8, [4, 4, 4, 4, 3, 3, 3, 3]],
  [2, 4, [1, 1, 0, 0]],
  [1, 1, [1]],
  [0, 3, [0, 0, 0]],
  [5, 7, [1, 1, 1, 1, 1, 0, 0]],
])('%i rows over %i ranks: remainder rows go one each to the lowest ranks', (total, parts, sizes) => {
  expect(splitSizes(total, parts)).toEqual(sizes);
});

test('sizes add up to the total, descend, and differ by at most one', () => {
  fc.assert(
    fc.property(fc.nat(100_000), fc.integer({ min: 1, max: 64 }), (total, parts) => {
      const sizes = splitSizes(total, parts);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(total);
      expect(sizes[0]! - sizes.at(-1)!).toBeLessThanOrEqual(1);
      expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
    }),
  );
});

test.each([
  [-1, 2],
  [1.5, 2],
  [3, 0],
  [3, 2.5],
])('%f rows over %f ranks are refused', (total, parts) => {
  expect(() => splitSizes(total, parts)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
});

test.each([
  // shard rows, gather size, rows exchanged
  [[4, 4, 4], 12, [4, 4, 4]],
  [[4, 4, 4], 9, [4, 4, 1]],
  [[4, 4, 4], 8, [4, 4, 0]],
  [[4, 0, 4], 3, [3, 0, 0]],
])('of shards %j a gather size of %i keeps %j: only tail rows are dropped', (shardRows, gatherSize, kept) => {
  expect(clipSplits(shardRows, gatherSize)).toEqual(kept);
});
