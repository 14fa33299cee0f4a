import { expect, test } from 'vitest';
import { alignedSizes, defaultStrategy, requireAligned } from './aligned.js';

test('equal shards and heads that divide are aligned', () => {
  expect(() => {
    requireAligned({ qSplits: [5, 5], kvSplits: [7, 7], qHeads: 8 }, 4);
  }).not.toThrow();
});

test.each([
  ['query shards', { qSplits: [5, 4], kvSplits: [7, 7], qHeads: 8 }, 'qSplits is [5,4]'],
  ['key shards', { qSplits: [5, 5], kvSplits: [6, 7], qHeads: 8 }, 'kvSplits is [6,7]'],
  [
    'heads',
    { qSplits: [5, 5], kvSplits: [7, 7], qHeads: 7 },
    'qHeads is 7, expected a multiple of cp_size 4',
  ],
])('%s that do not divide are refused, naming the calculator to use', (_, spec, message) => {
  const call = (): void => {
    requireAligned(spec, 4);
  };
  expect(call).toThrow(message);
  expect(call).toThrow('DynamicGatherSizeCalculator');
  expect(call).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
});

test('aligned sizes divide heads and both extents', () => {
  expect(alignedSizes({ qSplits: [12], kvSplits: [24], qHeads: 28 })).toEqual([2, 4]);
  expect(alignedSizes({ qSplits: [6, 0], kvSplits: [24], qHeads: 12 })).toEqual([2, 3, 6]);
  expect(alignedSizes({ qSplits: [24], kvSplits: [3, 3], qHeads: 12 })).toEqual([2, 3, 6]);
  expect(alignedSizes({ qSplits: [8191], kvSplits: [8191], qHeads: 28 })).toEqual([]);
});

test('whole heads are the default only where they divide', () => {
  expect([defaultStrategy(28, 4), defaultStrategy(28, 8), defaultStrategy(1, 2)]).toEqual([
    'heads',
    'balanced',
    'balanced',
  ]);
});
