import { expect, it } from 'vitest';
import { missingPairs } from '../support/pairwise.js';
import { FORM_CASES, FORM_FACTORS, isImpossibleForm } from './form-cases.js';

it('the committed forms cover every pair of levels: every form goes with every other', () => {
  expect(missingPairs(FORM_FACTORS, FORM_CASES, isImpossibleForm)).toEqual([]);
});

it.each([
  [4, 12, 6],
  [8, 28, 4],
])('on %i ranks there are cases of %i query and %i KV heads', (cpSize, qHeads, kvHeads) => {
  const found = FORM_CASES.filter((c) => c.cpSize === cpSize && c.qHeads === qHeads && c.kvHeads === kvHeads);
  expect(found.length).toBeGreaterThanOrEqual(2);
});
