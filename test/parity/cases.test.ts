import { expect, it } from 'vitest';
import { missingPairs } from '../support/pairwise.js';
import { FACTORS, isImpossible, LONG_CASES, PARITY_CASES } from './cases.js';

it('the committed cases cover every pair of levels', () => {
  expect(missingPairs(FACTORS, PARITY_CASES, isImpossible)).toEqual([]);
});

it('every case has KV heads that divide its heads and at least one row', () => {
  for (const { qHeads, kvHeads, rows } of PARITY_CASES) {
    expect(qHeads % kvHeads).toBe(0);
    expect(rows).toBeGreaterThan(0);
  }
});

it('three cases have 8190 rows, one sample, d = 64 and at most four heads', () => {
  expect(LONG_CASES).toHaveLength(3);
  for (const { rows, batch, headSize, qHeads } of LONG_CASES) {
    expect([rows, batch, headSize]).toEqual([8190, 1, 64]);
    expect(qHeads).toBeLessThanOrEqual(4);
  }
});
