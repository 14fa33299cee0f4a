import { describe, expect, it } from 'vitest';
import { bf16ToNumber, f16ToNumber, toBf16, toF16 } from './element-bits.js';

describe.each([
  ['bf16', toBf16, bf16ToNumber, 0x7f80, 2 ** -8],
  ['f16', toF16, f16ToNumber, 0x7c00, 2 ** -11],
] as const)('%s', (_name, toBits, toNumber, infinityBits, halfStep) => {
  it('gives every finite bit pattern back', () => {
    const signs = [0, 0x8000];
    const patterns = signs.flatMap((sign) => Array.from({ length: infinityBits }, (_, bits) => sign | bits));
    expect(patterns.filter((bits) => toBits(toNumber(bits)) !== bits)).toEqual([]);
  });
  it('rounds ties to the even neighbour', () => {
    expect(toNumber(toBits(1 + halfStep))).toBe(1);
    expect(toNumber(toBits(1 + 3 * halfStep))).toBe(1 + 4 * halfStep);
    expect(toNumber(toBits(1 + halfStep * 1.001))).toBe(1 + 2 * halfStep);
  });
  it('keeps infinities and NaN', () => {
    expect(toBits(Infinity)).toBe(infinityBits);
    expect(toBits(-Infinity)).toBe(infinityBits | 0x8000);
    expect(toNumber(toBits(NaN))).toBeNaN();
  });
});

describe('f16', () => {
  it('overflows to infinity from 65520 on', () => {
    expect(f16ToNumber(toF16(65519))).toBe(65504);
    expect(f16ToNumber(toF16(65520))).toBe(Infinity);
  });
  it('rounds below its smallest number to zero, ties to even', () => {
    expect(f16ToNumber(toF16(2 ** -25))).toBe(0);
    expect(f16ToNumber(toF16(1.001 * 2 ** -25))).toBe(2 ** -24);
  });
});
