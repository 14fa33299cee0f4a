import { describe, expect, it } from 'vitest';
import { readConfig } from '../config.js';
import { PLAN_OPTIONS, PLAN_CHECKS, specOf } from './plan-options.js';

const read = (line: string): ReturnType<typeof specOf> =>
  specOf(readConfig(PLAN_OPTIONS, `--context-parallel-size 4 ${line}`.split(' '), PLAN_CHECKS));

describe('options of plan', () => {
  it('cut a sequence over one owner per rank, remainder rows to the lowest', () => {
    const spec = read('--sequence 1021 --heads 6');
    expect(spec.qSplits).toEqual([256, 255, 255, 255]);
    expect(spec.kvSplits).toEqual(spec.qSplits);
    expect(spec).toMatchObject({ kvHeads: 6, layout: 'sbhd', dtype: 'f32', strategy: 'balanced' });
    expect(read('--sequence 10 --owners 3 --heads 8')).toMatchObject({
      qSplits: [4, 3, 3],
      strategy: 'heads',
    });
  });

  it('take explicit splits, zero included, and others for k and v', () => {
    expect(read('--splits 9,0,15 --kv-splits 1,2,3 --heads 1')).toMatchObject({
      qSplits: [9, 0, 15],
      kvSplits: [1, 2, 3],
    });
    expect(read('--sequence 5 --kv-sequence 9 --owners 2 --heads 1').kvSplits).toEqual([5, 4]);
  });

  it('take a packed batch', () => {
    const spec = read('--cu-seqlens 0,7,7,9 --heads 2 --owners 1 --causal --window 3');
    expect(spec.layout).toBe('thd');
    expect(spec.qSplits).toEqual([9]);
    const cuSeqlens = [0, 7, 7, 9];
    expect(spec.mask).toEqual({
      left: 3,
      right: 0,
      segments: { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens },
      validRanges: null,
    });
  });

  it.each([
    ['--heads 1', 'the sequence is missing, expected --sequence, --splits or --cu-seqlens'],
    ['--heads 1 --sequence 3 --splits 1,2', '--sequence and --splits are given, expected one of them'],
    ['--heads 1 --splits 1,2 --owners 3', '--owners is 3, expected 2, the number of --splits, or nothing'],
    [
      '--heads 1 --cu-seqlens 0,2 --layout bshd',
      '--layout is "bshd", expected thd with --cu-seqlens, or nothing',
    ],
    ['--heads 1 --splits 1,-2', '--splits is "1,-2", expected integers of at least 0 between commas'],
    ['--sequence 3', '--heads is missing'],
    ['--heads 1 --sequence 3 --dtype f64', '--dtype is "f64", expected one of f32, bf16, f16'],
  ])('refuse %s', (line, message) => {
    expect(() => read(line)).toThrow(message);
  });
});
