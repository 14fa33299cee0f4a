import { expect, test } from 'vitest';
import { paddingOf } from './padding.js';

test.each([
  // name, shard rows, lengths, layout, batch, gather size, padding rows, those not exchanged
  ['a padded batch', [6, 6], [10, 7, 0], 'sbhd', 3, 10, 36 - 17, 6],
  ['a packed batch', [6, 6], [3, 4], 'thd', 1, 7, 5, 5],
  ['a packed batch, all of it exchanged', [6, 6], [3, 4], 'thd', 1, 12, 5, 0],
  ['no lengths, a gather size below the shards', [6, 6], null, 'bshd', 2, 11, 2, 2],
  ['no padding', [6, 6], [12], 'bshd', 1, 12, 0, 0],
] as const)(
  '%s',
  (_, shardRows, attentionMaskLengths, layout, batch, gatherSize, paddingRows, notExchanged) => {
    expect(paddingOf({ shardRows, attentionMaskLengths, layout }, batch, gatherSize)).toEqual({
      paddingRows,
      paddingRowsNotExchanged: notExchanged,
    });
  },
);

test.each([
  ['longer than the shards', [13, 1], 'sbhd', 'attentionMaskLengths[0] is 13'],
  ['not one per sample', [1], 'sbhd', 'expected one length per sample, 2'],
  ['more rows than a packed batch has', [12, 1], 'thd', 'expected a sum of at most 12 rows'],
] as const)('lengths that are %s are refused', (_, attentionMaskLengths, layout, message) => {
  const batch = layout === 'thd' ? 1 : 2;
  expect(() => paddingOf({ shardRows: [6, 6], attentionMaskLengths, layout }, batch, 12)).toThrow(message);
});
