import { UlyssesError } from '@ulysses/errors';
import type { GatherSizeCalculator, GatherSizeInput } from '@ulysses/plan';
import { describe, expect, it } from 'vitest';
import { gatherSizeView } from './gather-size-view.js';
import type { TensorView } from './tensor-view.js';

const q = tensor(23);

function tensor(rows: number): TensorView {
  const extents = { layout: 'sbhd', rows, batch: 1, heads: 1, headSize: 1 } as const;
  return { data: new Float32Array(rows), dtype: 'f32', extents };
}

class FromKwargs implements GatherSizeCalculator {
  calculate({ kwargs }: GatherSizeInput): number | null {
    if (kwargs.fail !== undefined) throw new Error(kwargs.fail as string);
    return kwargs.gather_size as number | null;
  }
}

describe("a calculator of the caller's own", () => {
  it.each([
    ['undefined, which the usual kwargs.gather_size is when it is left out', undefined, 'undefined'],
    ['a string', 'many', '"many"'],
    ['a fraction', 2.5, '2.5'],
    ['zero', 0, '0'],
    ['a negative number', -3, '-3'],
    ['NaN', NaN, 'NaN'],
    ['more than any tensor can have', 1e300, '1e+300'],
    ['a value that JSON cannot say', { size: 4n }, '[object Object]'],
  ])(
    'that answers %s is refused with its name, the value and what was expected',
    async (_, answer, value) => {
      const call = gatherSizeView(new FromKwargs(), q, q, { kwargs: { gather_size: answer } });
      await expect(call).rejects.toMatchObject({
        code: 'SHAPE_MISMATCH',
        message: `gather size of FromKwargs for tensor q is ${value}, expected null or a positive integer`,
        details: { calculator: 'FromKwargs', value },
      });
    },
  );

  it('that throws is refused with its name and the reason', async () => {
    const call = gatherSizeView(new FromKwargs(), q, q, { kwargs: { fail: 'no mask in this batch' } });
    await expect(call).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
      message: expect.stringContaining('FromKwargs failed for tensor q: no mask in this batch') as string,
    });
  });

  it('that answers null for one tensor only keeps its answer for the other', async () => {
    const onlyKv: GatherSizeCalculator = { calculate: ({ tensor }) => (tensor === 'kv' ? 7 : null) };
    expect(await gatherSizeView(onlyKv, q, tensor(9), {})).toMatchObject({
      gatherSizeCalculator: null,
      gatherSizeQ: null,
      gatherSizeKv: 7,
    });
  });

  it('is asked once when q and k are equally long, knows this shard, and gets any kwargs untouched', async () => {
    const inputs: GatherSizeInput[] = [];
    const kwargs = { big: 1n, done: () => undefined };
    const recorded: GatherSizeCalculator = {
      calculate: (input) => {
        inputs.push(input);
        return 20;
      },
    };
    const view = await gatherSizeView(recorded, q, q, { kwargs, attentionMaskLengths: [20] });
    expect(inputs).toEqual([
      {
        tensor: 'q',
        shardRows: [23],
        attentionMaskLengths: [20],
        attentionMaskExtent: null,
        layout: 'sbhd',
        kwargs,
      },
    ]);
    expect(view).toEqual({
      gatherSizeCalculator: null,
      clientCalculator: 'the custom gather size calculator',
      gatherSizeQ: 20,
      gatherSizeKv: 20,
      calculatorArguments: null,
    });
  });
});

describe("arguments of the coordinator's calculator", () => {
  it('travel as JSON text', async () => {
    const view = await gatherSizeView(null, q, q, { kwargs: { gather_size: 20, left: undefined } });
    expect(view).toMatchObject({ clientCalculator: null, calculatorArguments: '{"gather_size":20}' });
  });

  const circle: Record<string, unknown> = {};
  circle['itself'] = circle;
  it.each([
    ['a BigInt', { size: 4n }, 'kwargs.size is 4'],
    ['NaN', { size: NaN }, 'kwargs.size is NaN'],
    ['a function', { now: Date.now }, 'kwargs.now is'],
    ['a circle', circle, 'kwargs is [object Object]'],
  ])('that hold %s are refused by name, not changed on the way', async (_, kwargs, message) => {
    const error: unknown = await gatherSizeView(null, q, q, { kwargs }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UlyssesError);
    expect(error).toMatchObject({ code: 'SHAPE_MISMATCH' });
    expect((error as UlyssesError).message).toContain(message);
  });
});
