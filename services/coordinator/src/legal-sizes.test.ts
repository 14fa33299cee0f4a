import { expect, it } from 'vitest';
import { LegalSizes } from './legal-sizes.js';

it('any size is legal until a job aligns; then it must divide the heads of every job that does', () => {
  const sizes = new LegalSizes();
  expect(sizes.largest(7, 1)).toBe(7);
  sizes.committed('a', 8);
  expect([sizes.largest(7, 1), sizes.largest(3, 1), sizes.largest(3, 3)]).toEqual([4, 2, null]);
  sizes.committed('b', 6);
  expect([sizes.largest(7, 1), sizes.largest(7, 3), sizes.heads()]).toEqual([2, null, [6, 8]]);
  sizes.committed('a', null);
  expect(sizes.largest(7, 1)).toBe(6);
});

it('a job that was silent for ten minutes does not count', () => {
  let now = 0;
  const sizes = new LegalSizes(() => now);
  sizes.committed('a', 4);
  now = 600_000;
  expect(sizes.largest(3, 1)).toBe(2);
  now = 600_001;
  expect(sizes.largest(3, 1)).toBe(3);
});
