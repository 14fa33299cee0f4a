import { expect, test } from 'vitest';
import { paddingRowsAvoided } from './attention/attention.js';
import { largestDifference, lossTable, progressLine } from './progress.js';
import type { StepResult } from './train.js';

const report = {
  gatherSize: 333,
  rowsPerRank: [417, 416, 416, 416],
  headsPerRank: [1.25, 1.25, 1.254, 1.246],
  bytesExchanged: 2 ** 20,
};

function result(step: number, loss: number): StepResult {
  return {
    step,
    loss,
    chunk: { path: 'notes.md', begin: 2047, length: 333 },
    elapsedMs: 100,
    reports: [report, report],
  };
}

test('the padding avoided is what rounding rows and heads up to the ranks would add', () => {
  // 333 rows become 336 and 5 heads 8: 336 * 8 - 333 * 5.
  expect(paddingRowsAvoided(333, 5, 4)).toBe(1023);
  expect(paddingRowsAvoided(336, 8, 4)).toBe(0);
});

test('the progress line shows loss, speed, gather size, rows and heads per rank, bytes and padding', () => {
  const line = progressLine(result(3, 4.25), 20, 5);
  expect(line).toContain('step  3/20');
  expect(line).toContain('loss 4.2500');
  expect(line).toContain('3330 tokens/s');
  expect(line).toContain('gather  333');
  expect(line).toContain('rows 417+416+416+416');
  expect(line).toContain('heads 1.25+1.25+1.25+1.25');
  expect(line).toContain('exchanged 2.0 MiB');
  expect(line).toContain('padding avoided 1023 rows');
  expect(line).toContain('notes.md@2047');
});

test('the largest difference is relative, found at any step, and not hidden by a loss that is not a number', () => {
  const cluster = [result(1, 5), result(2, 4.0002), result(3, 3)];
  expect(largestDifference(cluster, [result(1, 5), result(2, 4), result(3, 3)])).toBeCloseTo(5e-5, 7);
  expect(largestDifference(cluster, [result(1, 5), result(2, NaN), result(3, 3)])).toBeNaN();
});

test('the table of a long training is thinned out and keeps its last step', () => {
  const many = Array.from({ length: 1001 }, (_, index) => result(index + 1, 3));
  const lines = lossTable(many, many).split('\n');
  expect(lines.length).toBeLessThan(60);
  expect(lines.at(-2)).toMatch(/^1001 /);
});
