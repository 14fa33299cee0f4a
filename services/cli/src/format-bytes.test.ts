import { expect, it } from 'vitest';
import { formatBytes } from './format-bytes.js';

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.000 KiB'],
  [1023 * 1024, '1023 KiB'],
  [100_707_000, '96.04 MiB'],
  [4 * 2 ** 30, '4.000 GiB'],
  [2 ** 60, '1024 PiB'],
])('formatBytes(%d) is %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});
