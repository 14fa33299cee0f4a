import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  boxBytes,
  exchangeBytes,
  inputShape,
  outputShape,
  placedBox,
  sentBox,
  type ExchangeBox,
} from './exchange-box.js';
import { createExchangePlan, verifyExchangePlan, type ExchangeSpec } from './exchange-plan.js';
import { splitRanges, splitSizes } from './split-sizes.js';

const SPEC: ExchangeSpec = {
  dtype: 'bf16',
  shape: [9, 21, 15],
  scatterDim: 2,
  gatherDim: 0,
  scatterRanges: splitRanges(splitSizes(15, 4)),
  gatherRanges: splitRanges([4, 0, 3, 2]),
};

const sizes = (parts: number) =>
  fc.array(fc.integer({ min: 0, max: 4 }), { minLength: parts, maxLength: parts });

/** Random exchanges whose parts tile both dimensions, empty parts included. */
const specs: fc.Arbitrary<ExchangeSpec> = fc
  .record({ owners: fc.integer({ min: 1, max: 5 }), dims: fc.integer({ min: 2, max: 4 }) })
  .chain(({ owners, dims }) =>
    fc.record({
      dtype: fc.constantFrom('f32' as const, 'f16' as const),
      others: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: dims, maxLength: dims }),
      scatterDim: fc.integer({ min: 0, max: dims - 1 }),
      step: fc.integer({ min: 1, max: dims - 1 }),
      scatter: sizes(owners),
      gather: sizes(owners),
    }),
  )
  .map(({ dtype, others, scatterDim, step, scatter, gather }) => {
    const gatherDim = (scatterDim + step) % others.length;
    const sum = (parts: readonly number[]): number => parts.reduce((a, b) => a + b, 0);
    const shape = others.map((extent, dim) =>
      dim === scatterDim ? sum(scatter) : dim === gatherDim ? sum(gather) : extent,
    );
    const [scatterRanges, gatherRanges] = [splitRanges(scatter), splitRanges(gather)];
    return { dtype, shape, scatterDim, gatherDim, scatterRanges, gatherRanges };
  });

function bytesOf({ offsetBytes, rows, rowBytes, rowStrideBytes }: ExchangeBox): number[] {
  return Array.from(
    { length: rows * rowBytes },
    (_, at) => offsetBytes + Math.floor(at / rowBytes) * rowStrideBytes + (at % rowBytes),
  );
}

describe('an exchange plan', () => {
  it('sends every byte of an input once, and fills every byte of an output once', () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const { spec: planned } = createExchangePlan(spec);
        const bytes = spec.dtype === 'f32' ? 4 : 2;
        const owners = spec.gatherRanges.map((_, owner) => owner);
        for (const owner of owners) {
          const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, bytes);
          const sent = owners.flatMap((to) => bytesOf(sentBox(planned, owner, to)));
          const placed = owners.flatMap((from) => bytesOf(placedBox(planned, from, owner)));
          expect(sent.sort((a, b) => a - b)).toEqual([...Array(size(inputShape(planned, owner))).keys()]);
          expect(placed.sort((a, b) => a - b)).toEqual([...Array(size(outputShape(planned, owner))).keys()]);
        }
        const all = owners.map((owner) => exchangeBytes(planned, owner));
        const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
        expect(sum(all.map(({ sent }) => sent))).toBe(sum(all.map(({ received }) => received)));
      }),
    );
  });

  it('has one id for one spec, and another for any other', () => {
    const plan = createExchangePlan(SPEC);
    expect(createExchangePlan(structuredClone(SPEC)).planId).toBe(plan.planId);
    const changes: Partial<ExchangeSpec>[] = [
      { dtype: 'f16' },
      { shape: [9, 20, 15] },
      { scatterDim: 1, scatterRanges: splitRanges(splitSizes(15, 4)) },
      { scatterRanges: splitRanges([15, 0, 0, 0]) },
      { gatherRanges: splitRanges([0, 4, 3, 2]) },
    ];
    const ids = changes.map((change) => createExchangePlan({ ...SPEC, ...change }).planId);
    expect(new Set([plan.planId, ...ids]).size).toBe(changes.length + 1);
  });

  it('is refused when its id or its spec is wrong', () => {
    const plan = createExchangePlan(SPEC);
    expect(() => {
      verifyExchangePlan(plan);
    }).not.toThrow();
    const wrong = [
      { ...plan, planId: plan.planId.replace(/./, 'x') },
      { ...plan, spec: { ...SPEC, shape: [9, 21, 14] } },
      { ...plan, spec: { ...SPEC, gatherDim: 2 } },
      { ...plan, spec: { ...SPEC, scatterRanges: SPEC.scatterRanges.slice(1) } },
    ];
    for (const plan of wrong) {
      expect(() => {
        verifyExchangePlan(plan);
      }).toThrow(expect.objectContaining({ code: 'PLAN_INVALID' }));
    }
  });

  it.each([
    ['shape', { shape: [9] }],
    ['shape[1]', { shape: [9, -1, 15] }],
    ['scatterDim', { scatterDim: 3 }],
    ['scatterDim', { scatterDim: 0 }],
    ['gatherRanges[0].end', { gatherRanges: [{ begin: 0, end: 10 }] }],
    ['gatherRanges[0].end', { gatherRanges: [{ begin: 3, end: 2 }] }],
    ['scatterRanges', { gatherRanges: [], scatterRanges: [] }],
  ])('a wrong %s is named', (field, change) => {
    expect(() => createExchangePlan({ ...SPEC, ...change })).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH', details: expect.objectContaining({ field }) }),
    );
  });

  it('parts may overlap: then an owner sends the same bytes to several others', () => {
    const heads = [0, 0, 1, 1].map((head) => ({ begin: head, end: head + 1 }));
    const spec = { ...SPEC, shape: [9, 2, 8], scatterDim: 1, scatterRanges: heads };
    createExchangePlan(spec);
    expect(boxBytes(sentBox(spec, 0, 1))).toBe(4 * 8 * 2);
    expect(sentBox(spec, 2, 0)).toEqual(sentBox(spec, 2, 1));
  });
});
