import { expect, it } from 'vitest';
import { missingPairs, type Factors } from './pairwise.js';

interface Pair {
  x: number;
  y: string;
}
const factors: Factors<Pair> = {
  x: [1, 2].map((x) => ({ name: String(x), has: (c) => c.x === x })),
  y: ['a', 'b'].map((y) => ({ name: y, has: (c) => c.y === y })),
};
const cases = [
  { x: 1, y: 'a' },
  { x: 1, y: 'b' },
  { x: 2, y: 'b' },
];

it('names the pairs that no case has', () => {
  expect(missingPairs(factors, cases, () => false)).toEqual([['x 2', 'y a']]);
});
it('does not ask for a pair that cannot exist', () => {
  expect(missingPairs(factors, cases, ([x, y]) => x === 'x 2' && y === 'y a')).toEqual([]);
});
it('refuses to call a pair impossible that a case has', () => {
  expect(() => missingPairs(factors, cases, () => true)).toThrow(
    'x 1 with y a is called impossible but exists',
  );
});
