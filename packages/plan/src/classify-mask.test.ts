import { UlyssesError } from '@ulysses/errors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classifyMask, type MaskExtents, type MaskTensor } from './classify-mask.js';
import type { Mask } from './spec.js';

/** Whether a row sees a key, asked one pair at a time, straight from the definition in spec.ts. */
function sees(mask: Mask, { sQ, sKv }: MaskExtents, sample: number, row: number, key: number): boolean {
  let diagonal = row + sKv - sQ;
  if (mask.segments !== null) {
    const { cuSeqlensQ: cu } = mask.segments;
    const segment = cu.findIndex((_, i) => cu[i]! <= row && row < (cu[i + 1] ?? 0));
    if (key < cu[segment]! || key >= cu[segment + 1]!) return false;
    diagonal = row;
  }
  const ranges = mask.validRanges;
  if (ranges !== null) {
    const [q, kv] = [ranges.q[sample]!, ranges.kv[sample]!];
    if (row < q.begin || row >= q.end || key < kv.begin || key >= kv.end) return false;
  }
  return (
    (mask.left === null || key >= diagonal - mask.left) &&
    (mask.right === null || key <= diagonal + mask.right)
  );
}

function tensorOf(mask: Mask, extents: MaskExtents): MaskTensor {
  const { batch, sQ, sKv } = extents;
  const visible = new Uint8Array(batch * sQ * sKv);
  let at = 0;
  for (let sample = 0; sample < batch; sample++) {
    for (let row = 0; row < sQ; row++) {
      for (let key = 0; key < sKv; key++) visible[at++] = Number(sees(mask, extents, sample, row, key));
    }
  }
  return { visible, shape: [batch, 1, sQ, sKv] };
}

const width = fc.option(fc.integer({ min: 0, max: 9 }), { nil: null });
const range = (length: number) =>
  fc
    .tuple(fc.integer({ min: 0, max: length }), fc.integer({ min: 0, max: length }))
    .map(([a, b]) => ({ begin: Math.min(a, b), end: Math.max(a, b) }));

/** Bands with valid ranges over any extents. */
const ranged = fc
  .record({ batch: fc.integer({ min: 1, max: 3 }), s: fc.integer({ min: 1, max: 12 }) })
  .chain(({ batch, s }) =>
    fc.record({
      extents: fc.constant({ batch, sQ: s, sKv: s }),
      mask: fc.record({
        left: fc.constant(null),
        right: fc.constantFrom(null, 0),
        segments: fc.constant(null),
        validRanges: fc
          .array(range(s), { minLength: batch, maxLength: batch })
          .map((ranges) => ({ q: ranges, kv: ranges })),
      }),
    }),
  );

/** Bands over extents that may differ, and packed self-attention. */
const banded = fc
  .record({
    sQ: fc.integer({ min: 1, max: 12 }),
    sKv: fc.integer({ min: 1, max: 12 }),
    left: width,
    right: width,
  })
  .map(({ sQ, sKv, left, right }) => ({
    extents: { batch: 1, sQ, sKv },
    mask: { left, right, segments: null, validRanges: null },
  }));
const packed = fc
  .record({
    lengths: fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 }),
    left: width,
    right: width,
  })
  .map(({ lengths, left, right }) => {
    const cu = [0];
    for (const length of lengths) cu.push(cu.at(-1)! + length);
    const s = cu.at(-1)!;
    const segments = { cuSeqlensQ: cu, cuSeqlensKv: cu };
    return { extents: { batch: 1, sQ: s, sKv: s }, mask: { left, right, segments, validRanges: null } };
  });

function refusalOf(tensor: MaskTensor, extents: MaskExtents): UlyssesError {
  try {
    classifyMask(tensor, extents);
  } catch (error) {
    if (error instanceof UlyssesError) return error;
  }
  throw new Error('the mask was accepted');
}

describe('a boolean mask', () => {
  it.each([
    ['causal or full with padding', ranged],
    ['bands', banded],
    ['packed segments', packed],
  ])(
    '%s: what is accepted sees exactly the same keys, and what was made by the algebra is accepted',
    (_, arbitrary) => {
      fc.assert(
        fc.property(arbitrary, ({ extents, mask }: { extents: MaskExtents; mask: Mask }) => {
          const tensor = tensorOf(mask, extents);
          expect(tensorOf(classifyMask(tensor, extents), extents)).toEqual(tensor);
        }),
        { numRuns: 400 },
      );
    },
  );

  it('of any bits is either said exactly or refused with the row that does not fit', () => {
    const any = fc
      .record({ sQ: fc.integer({ min: 1, max: 4 }), sKv: fc.integer({ min: 1, max: 4 }) })
      .chain((s) =>
        fc.record({
          extents: fc.constant({ batch: 1, ...s }),
          bits: fc.array(fc.integer({ min: 0, max: 1 }), {
            minLength: s.sQ * s.sKv,
            maxLength: s.sQ * s.sKv,
          }),
        }),
      );
    fc.assert(
      fc.property(any, ({ extents, bits }) => {
        const tensor = { visible: Uint8Array.from(bits), shape: [1, 1, extents.sQ, extents.sKv] };
        let mask: Mask;
        try {
          mask = classifyMask(tensor, extents);
        } catch (error) {
          expect(error).toMatchObject({ code: 'UNSUPPORTED', details: { field: 'attention_mask' } });
          expect((error as UlyssesError).message).toMatch(/sample 0, row \d+ sees/);
          return;
        }
        expect(tensorOf(mask, extents)).toEqual(tensor);
      }),
      { numRuns: 1000 },
    );
  });

  it('of keys makes valid ranges, with padding on either side', () => {
    const extents = { batch: 2, sQ: 4, sKv: 4 };
    const visible = Uint8Array.from([1, 1, 1, 0, 0, 0, 1, 1]);
    const ranges = [
      { begin: 0, end: 3 },
      { begin: 2, end: 4 },
    ];
    expect(classifyMask({ visible, shape: [2, 4] }, extents).validRanges).toEqual({ q: ranges, kv: ranges });
    const whole = classifyMask({ visible: new Uint8Array(4).fill(1), shape: [4] }, extents);
    expect(whole).toEqual({ left: null, right: null, segments: null, validRanges: null });
    const cross = classifyMask({ visible, shape: [2, 4] }, { ...extents, sQ: 7 });
    expect(cross.validRanges?.q).toEqual([
      { begin: 0, end: 7 },
      { begin: 0, end: 7 },
    ]);
  });

  it('of keys with a hole is refused, naming sample and keys', () => {
    const error = refusalOf(
      { visible: Uint8Array.from([1, 1, 1, 1, 0, 1]), shape: [2, 3] },
      { batch: 2, sQ: 3, sKv: 3 },
    );
    expect(error.message).toContain('sample 1 sees key 2 but not key 1');
  });

  it('of a shape that does not fit is refused, listing those that do', () => {
    const error = refusalOf({ visible: new Uint8Array(5), shape: [5] }, { batch: 2, sQ: 3, sKv: 4 });
    expect(error).toMatchObject({
      code: 'SHAPE_MISMATCH',
      details: { expected: '[4], [2, 4] or [2, 1, 3, 4]' },
    });
  });
});
