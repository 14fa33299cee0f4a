import { invariant } from '@ulysses/errors';
import { endKey, firstKey } from './band.js';
import { firstBandEndingAfter, sampleMask } from './sample-mask.js';
import type { StepSpec } from './spec.js';

/**
 * What each query row of [qBegin, qEnd) of one sample sees: int32 [rows, 2], keys [lo, hi) counted from `kvBegin`.
 * A row that sees nothing has lo = hi = 0.
 *
 * @throws INVARIANT when a row sees a key before `kvBegin`
 */
export function rowBounds(
  spec: StepSpec,
  batch: number,
  qBegin: number,
  qEnd: number,
  kvBegin: number,
): Int32Array {
  const bounds = new Int32Array(2 * (qEnd - qBegin));
  const { bands } = sampleMask(spec, batch);
  for (let index = firstBandEndingAfter(bands, qBegin); index < bands.length; index++) {
    const band = bands[index]!;
    if (band.qBegin >= qEnd) break;
    const begin = Math.max(qBegin, band.qBegin);
    const end = Math.min(qEnd, band.qEnd);
    invariant(firstKey(band, begin) >= kvBegin, 'a query row sees keys before the given first key', {
      field: 'kvBegin',
      value: kvBegin,
      expected: `at most ${firstKey(band, begin)}`,
    });
    for (let row = begin, at = 2 * (begin - qBegin); row < end; row++) {
      bounds[at++] = firstKey(band, row) - kvBegin;
      bounds[at++] = endKey(band, row) - kvBegin;
    }
  }
  return bounds;
}
