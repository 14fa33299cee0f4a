import { describe, expect, it } from 'vitest';
import { advertisedAddress } from './advertise.js';

describe('advertisedAddress', () => {
  it.each([
    ['10.0.0.1:7100', null, '10.0.0.1:7100'],
    ['0.0.0.0:7100', '10.0.0.1', '10.0.0.1:7100'],
    ['[::]:7100', 'rank-0.ulysses', 'rank-0.ulysses:7100'],
    ['10.0.0.1:7100', 'gate:80', 'gate:80'],
    ['0.0.0.0:7100', '[fd00::1]', '[fd00::1]:7100'],
  ])('of a port on %s, said to be %s, is %s', (listening, advertised, expected) => {
    expect(advertisedAddress('advertise', listening, advertised)).toBe(expected);
  });

  it.each([
    ['0.0.0.0:7100', null],
    ['[::]:7100', null],
    ['10.0.0.1:7100', '0.0.0.0'],
    ['10.0.0.1:7100', 'a b'],
    ['10.0.0.1:7100', ''],
  ])('is refused where nobody could dial it: %s, %s', (listening, advertised) => {
    expect(() => advertisedAddress('advertise', listening, advertised)).toThrow(/^advertise is .*can dial/);
  });
});
