import { bandPairs, endKey, firstKey, trimBand, type Band } from './band.js';
import type { Mask, RowRange, StepSpec } from './spec.js';
import { sumOf } from './split-sizes.js';

/** One sample's mask, ready for sums. */
export interface SampleMask {
  readonly bands: readonly Band[];
  /** Visible pairs of one head before each band; one more entry holds the sample's. */
  readonly pairsBefore: readonly number[];
  /**
   * Bands between whose first key and the band before lie keys that no row sees: segments with more keys than queries
   * under a shorter window, or with keys and no queries.
   */
  readonly gaps: readonly number[];
}

/** The mask of every sample; samples without a range of their own share one value. O(segments + samples). */
export function sampleMasks(spec: StepSpec): SampleMask[] {
  if (spec.mask.validRanges !== null) {
    return Array.from({ length: spec.batch }, (_, batch) => sampleMask(spec, batch));
  }
  return new Array<SampleMask>(spec.batch).fill(sampleMask(spec, 0));
}

export function sampleMask({ mask, qSplits, kvSplits }: StepSpec, batch: number): SampleMask {
  const bands = sampleBands(mask, sumOf(qSplits), sumOf(kvSplits), batch);
  const pairsBefore = [0];
  let pairs = 0;
  const gaps: number[] = [];
  bands.forEach((band, index) => {
    pairsBefore.push((pairs += bandPairs(band, band.qBegin, band.qEnd)));
    const before = bands[index - 1];
    if (before !== undefined && firstKey(band, band.qBegin) > endKey(before, before.qEnd - 1))
      gaps.push(index);
  });
  return { bands, pairsBefore, gaps };
}

function sampleBands(
  { left, right, segments, validRanges }: Mask,
  sQ: number,
  sKv: number,
  batch: number,
): Band[] {
  // A bound of sQ + sKv reaches every key from every row; it keeps the sums finite.
  const reach = sQ + sKv;
  const bandLeft = Math.min(left ?? reach, reach);
  const bandRight = Math.min(right ?? reach, reach);
  const bands: Band[] = [];
  const push = (q: RowRange, kv: RowRange, diagonal: number): void => {
    const band = trimBand({
      qBegin: q.begin,
      qEnd: q.end,
      kvBegin: kv.begin,
      kvEnd: kv.end,
      low: diagonal - bandLeft,
      high: diagonal + bandRight + 1,
    });
    if (band !== null) bands.push(band);
  };
  if (segments !== null) {
    const { cuSeqlensQ, cuSeqlensKv } = segments;
    for (let segment = 0; segment + 1 < cuSeqlensQ.length; segment++) {
      const q = { begin: cuSeqlensQ[segment]!, end: cuSeqlensQ[segment + 1]! };
      const kv = { begin: cuSeqlensKv[segment]!, end: cuSeqlensKv[segment + 1]! };
      push(q, kv, kv.end - q.end);
    }
  } else {
    const q = validRanges?.q[batch] ?? { begin: 0, end: sQ };
    const kv = validRanges?.kv[batch] ?? { begin: 0, end: sKv };
    push(q, kv, sKv - sQ);
  }
  return bands;
}

/** Visible pairs of the sample's rows [0, row), of one head. O(log bands). */
export function pairsBeforeRow({ bands, pairsBefore }: SampleMask, row: number): number {
  const index = firstBandEndingAfter(bands, row);
  const band = bands[index];
  if (band === undefined || row <= band.qBegin) return pairsBefore[index]!;
  return pairsBefore[index]! + bandPairs(band, band.qBegin, row);
}

export function samplePairs({ pairsBefore }: SampleMask): number {
  return pairsBefore.at(-1)!;
}

/**
 * The row of one head with the number of visible pairs before it nearest to `pairs`, which is positive and at most the
 * sample's. O(log bands + log rows).
 */
export function rowNearPairs({ bands, pairsBefore }: SampleMask, pairs: number): number {
  const index = firstIndex(0, bands.length - 1, (candidate) => pairsBefore[candidate + 1]! >= pairs);
  const band = bands[index]!;
  const before = (row: number): number => pairsBefore[index]! + bandPairs(band, band.qBegin, row);
  const row = firstIndex(band.qBegin + 1, band.qEnd, (candidate) => before(candidate) >= pairs);
  return pairs - before(row - 1) < before(row) - pairs ? row - 1 : row;
}

/** A run of rows whose visible keys have no gap; `keys` is null when they see none. */
export interface VisibleRun {
  readonly qBegin: number;
  readonly qEnd: number;
  readonly keys: RowRange | null;
}

/**
 * Rows [qBegin, qEnd) as runs without a gap between visible keys, in order: nearly always one run. O(log bands + runs).
 */
export function visibleRuns({ bands, gaps }: SampleMask, qBegin: number, qEnd: number): VisibleRun[] {
  const first = firstBandEndingAfter(bands, qBegin);
  const end = firstIndex(first, bands.length, (index) => bands[index]!.qBegin >= qEnd);
  if (first === end) return [{ qBegin, qEnd, keys: null }];
  const runs: VisibleRun[] = [];
  let band = first;
  let begin = qBegin;
  while (begin < qEnd) {
    const gap = firstIndex(0, gaps.length, (index) => gaps[index]! > band);
    const next = Math.min(gaps[gap] ?? end, end);
    const runEnd = next === end ? qEnd : bands[next]!.qBegin;
    const last = bands[next - 1]!;
    const keys = {
      begin: firstKey(bands[band]!, Math.max(begin, bands[band]!.qBegin)),
      end: endKey(last, Math.min(runEnd, last.qEnd) - 1),
    };
    runs.push({ qBegin: begin, qEnd: runEnd, keys });
    band = next;
    begin = runEnd;
  }
  return runs;
}

/** The first band that has a row at or after `row`; the number of bands when there is none. */
export function firstBandEndingAfter(bands: readonly Band[], row: number): number {
  return firstIndex(0, bands.length, (index) => bands[index]!.qEnd > row);
}

/** The smallest index in [low, high) for which `holds`, else `high`; once it holds it holds for all larger ones. */
function firstIndex(low: number, high: number, holds: (index: number) => boolean): number {
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
