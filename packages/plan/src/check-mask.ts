import { fieldError } from '@ulysses/errors';
import { requireInteger } from './require-integer.js';
import type { Mask, RowRange } from './spec.js';

/** @throws SHAPE_MISMATCH for a mask that does not describe `batch` samples of sQ query rows and sKv keys */
export function checkMask(
  { left, right, segments, validRanges }: Mask,
  { batch, sQ, sKv }: { readonly batch: number; readonly sQ: number; readonly sKv: number },
): void {
  if (left !== null) requireInteger('mask.left', left, 0);
  if (right !== null) requireInteger('mask.right', right, 0);
  if (segments !== null && validRanges !== null) {
    throw fieldError(
      'SHAPE_MISMATCH',
      'mask.validRanges',
      validRanges,
      'null, because mask.segments is given',
    );
  }
  if (segments !== null) {
    if (batch !== 1) throw fieldError('SHAPE_MISMATCH', 'batch', batch, '1, because mask.segments is given');
    const { cuSeqlensQ, cuSeqlensKv } = segments;
    checkRunningSums('mask.segments.cuSeqlensQ', cuSeqlensQ, sQ);
    checkRunningSums('mask.segments.cuSeqlensKv', cuSeqlensKv, sKv);
    if (cuSeqlensKv.length !== cuSeqlensQ.length) {
      const expected = `${cuSeqlensQ.length} entries, like cuSeqlensQ`;
      throw fieldError('SHAPE_MISMATCH', 'mask.segments.cuSeqlensKv', cuSeqlensKv, expected);
    }
  }
  if (validRanges !== null) {
    checkRanges('mask.validRanges.q', validRanges.q, batch, sQ);
    checkRanges('mask.validRanges.kv', validRanges.kv, batch, sKv);
  }
}

function checkRunningSums(field: string, sums: readonly number[], rows: number): void {
  if (sums.length < 2)
    throw fieldError('SHAPE_MISMATCH', field, sums, 'one entry more than there are segments');
  if (sums[0] !== 0) throw fieldError('SHAPE_MISMATCH', `${field}[0]`, sums[0], '0');
  for (let index = 1; index < sums.length; index++) {
    requireInteger(`${field}[${index}]`, sums[index]!, sums[index - 1]!);
  }
  if (sums.at(-1) !== rows) {
    throw fieldError(
      'SHAPE_MISMATCH',
      `${field}[${sums.length - 1}]`,
      sums.at(-1),
      `${rows}, the sum of the splits`,
    );
  }
}

function checkRanges(field: string, ranges: readonly RowRange[], batch: number, rows: number): void {
  if (ranges.length !== batch) {
    throw fieldError('SHAPE_MISMATCH', field, ranges, `one range per sample, ${batch}`);
  }
  ranges.forEach(({ begin, end }, sample) => {
    requireInteger(`${field}[${sample}].begin`, begin, 0, rows);
    requireInteger(`${field}[${sample}].end`, end, begin, rows);
  });
}
