import { UlyssesError } from '@ulysses/errors';
import { describe, expect, it } from 'vitest';
import {
  checkTensorView,
  copyToRegion,
  requireSameShape,
  viewOfRegion,
  type TensorView,
} from './tensor-view.js';

const EXTENTS = { layout: 'sbhd', rows: 3, batch: 2, heads: 2, headSize: 4 } as const;
const VIEW: TensorView = { data: new Float32Array(48).map((_, i) => i), dtype: 'f32', extents: EXTENTS };

function errorOf(action: () => void): UlyssesError {
  try {
    action();
  } catch (error) {
    if (error instanceof UlyssesError) return error;
  }
  throw new Error('the view was accepted');
}

describe('a tensor of the caller', () => {
  it.each([
    ['an unknown dtype', { ...VIEW, dtype: 'f64' }, 'UNSUPPORTED', 'q.dtype'],
    [
      'an unknown layout',
      { ...VIEW, extents: { ...EXTENTS, layout: 'hsbd' } },
      'UNSUPPORTED',
      'q.extents.layout',
    ],
    ['a fraction', { ...VIEW, extents: { ...EXTENTS, rows: 2.5 } }, 'SHAPE_MISMATCH', 'q.extents.rows'],
    ['too little data', { ...VIEW, data: new Float32Array(47) }, 'SHAPE_MISMATCH', 'q.data.length'],
    ['data of another type', { ...VIEW, dtype: 'bf16' }, 'SHAPE_MISMATCH', 'q.data'],
  ])('with %s is refused, naming the field', (_, view, code, field) => {
    const error = errorOf(() => {
      checkTensorView(view as TensorView, 'q');
    });
    expect(error).toMatchObject({ code, details: { field } });
    expect(error.details.expected).toBeTruthy();
  });

  it('with no rows is fine', () => {
    expect(() => {
      checkTensorView({ data: new Float32Array(0), dtype: 'f32', extents: { ...EXTENTS, rows: 0 } }, 'q');
    }).not.toThrow();
  });

  it('that is not shaped like its partner is refused, naming both', () => {
    const error = errorOf(() => {
      requireSameShape({ ...VIEW, extents: { ...EXTENTS, heads: 4 } }, VIEW, 'v', 'k');
    });
    expect(error.message).toBe('v.extents.heads is 4, expected 2, like k');
  });

  it('is copied: what the caller does to it afterwards does not reach the step', () => {
    const source = { ...VIEW, data: VIEW.data.slice() };
    const region = copyToRegion(source);
    source.data.fill(0);
    expect(viewOfRegion(region, source).data).toEqual(VIEW.data);
  });
});
