/**
 * Consecutive query rows that see keys by one rule: row i of [qBegin, qEnd) sees the keys
 * [max(kvBegin, i + low), min(kvEnd, i + high)), which are never none. Rows and keys count from the sample's start.
 *
 * Every mask of the algebra is a list of such bands per sample: rows ascending, keys ascending, rows in no band see
 * nothing. Within a band both bounds move by at most one key per row, so the keys seen by consecutive rows have no gap.
 */
export interface Band {
  readonly qBegin: number;
  readonly qEnd: number;
  readonly kvBegin: number;
  readonly kvEnd: number;
  readonly low: number;
  readonly high: number;
}

/** A band without the rows that see no key; null when no row is left. */
export function trimBand(band: Band): Band | null {
  const qBegin = Math.max(band.qBegin, band.kvBegin - band.high + 1);
  const qEnd = Math.min(band.qEnd, band.kvEnd - band.low);
  return qBegin < qEnd && band.kvBegin < band.kvEnd ? { ...band, qBegin, qEnd } : null;
}

export function firstKey(band: Band, row: number): number {
  return Math.max(band.kvBegin, row + band.low);
}

/** One past the last key that `row` sees. */
export function endKey(band: Band, row: number): number {
  return Math.min(band.kvEnd, row + band.high);
}

/** Visible (row, key) pairs of rows [begin, end) of the band. Exact below 2^53. */
export function bandPairs({ kvBegin, kvEnd, low, high }: Band, begin: number, end: number): number {
  // Ends: i + high up to the row where kvEnd clamps them. Begins: kvBegin up to the row where i + low passes it.
  const endsClamp = clamp(kvEnd - high, begin, end);
  const beginsMove = clamp(kvBegin - low, begin, end);
  const ends = sumOfRows(begin, endsClamp) + (endsClamp - begin) * high + (end - endsClamp) * kvEnd;
  const begins = (beginsMove - begin) * kvBegin + sumOfRows(beginsMove, end) + (end - beginsMove) * low;
  return ends - begins;
}

/** begin + (begin + 1) + … + (end - 1) */
function sumOfRows(begin: number, end: number): number {
  return ((begin + end - 1) * (end - begin)) / 2;
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}
