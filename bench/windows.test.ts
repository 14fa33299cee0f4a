import { describe, expect, it } from 'vitest';
import { alternate, compare, repeated, type Window } from './windows.js';

describe('windows', () => {
  it('alternate, each side first as often as the other, and the first of each is dropped', async () => {
    const calls: string[] = [];
    const side = (name: string) => () => Promise.resolve(`${name}${calls.push(name)}`);
    const windows = await alternate(3, side('a'), side('b'));
    expect(calls.join('')).toBe('abbaabba');
    expect(windows).toEqual([
      { value: 'a4', peer: 'b3' },
      { value: 'a5', peer: 'b6' },
      { value: 'a8', peer: 'b7' },
    ]);
  });

  it('of one side are as many as asked for, after one that warms up', async () => {
    let calls = 0;
    await expect(repeated(3, () => Promise.resolve(++calls))).resolves.toEqual([2, 3, 4]);
  });

  it('are compared by the median of their ratios, not by the ratio of medians', () => {
    const windows: Window[] = [1, 2, 3, 4, 5].map((value) => ({ value, peer: 6 - value }));
    windows[2] = { value: 3, peer: 9 };
    expect(compare(windows)).toEqual({ value: 3, peer: 4, ratio: 0.5, spread: [0.2, 5], windows: 5 });
  });

  it('are refused when there are fewer than five', () => {
    expect(() => compare([1, 2, 3, 4].map((value) => ({ value, peer: 1 })))).toThrow(
      'there are 4 windows, expected at least 5',
    );
  });
});
