import { isOneCall, type Granule, type KvInterval, type RankTable, type RowRange } from '@ulysses/plan';

/**
 * What a rank hears of, as its rows arrive: block i is granule i's own rows (q, dout); after those of all granules come each KV
 * interval's keys, cut where the keys of one of its granules end. The plane calls them granules. A rank whose work is one call
 * hears once, of block 0: all that it reads.
 */
export interface Arrivals {
  /** Per granule, the block of its own rows. */
  readonly rowsOf: readonly number[];
  /** Per granule, the blocks of keys that it reads. */
  readonly keysOf: readonly (readonly number[])[];
  readonly ofUnit: readonly BlockLine[];
  readonly ofInterval: readonly BlockLine[];
}

/** Blocks that follow each other: the first one's number, and the row at which each ends. */
interface BlockLine {
  readonly first: number;
  readonly ends: readonly number[];
}

export function arrivals(
  { units, kvIntervals, kvIntervalOfUnit }: RankTable,
  granules: readonly Granule[],
): Arrivals {
  if (isOneCall(granules)) return oneBlock(units, kvIntervals, granules);
  const rowEnds = units.map((): number[] => []);
  const keyEnds = kvIntervals.map(() => new Set<number>());
  for (const { unit, qEnd, keys } of granules) {
    rowEnds[unit]!.push(qEnd);
    if (keys !== null) keyEnds[kvIntervalOfUnit[unit]!]!.add(keys.end);
  }
  let number = 0;
  const line = (ends: readonly number[]): BlockLine => {
    const first = number;
    number += ends.length;
    return { first, ends };
  };
  const ofUnit = rowEnds.map(line);
  const ofInterval = keyEnds.map((ends) => line([...ends].sort((a, b) => a - b)));
  const keysOf = granules.map(({ unit, keys }) => {
    if (keys === null) return [];
    const { first, ends } = ofInterval[kvIntervalOfUnit[unit]!]!;
    const from = ends.findIndex((end) => end > keys.begin);
    return Array.from({ length: ends.indexOf(keys.end) - from + 1 }, (_, i) => first + from + i);
  });
  return { rowsOf: granules.map((_, index) => index), keysOf, ofUnit, ofInterval };
}

function oneBlock(
  units: RankTable['units'],
  kvIntervals: RankTable['kvIntervals'],
  granules: readonly Granule[],
): Arrivals {
  return {
    rowsOf: granules.map(() => 0),
    keysOf: granules.map(() => []),
    ofUnit: units.map(({ qEnd }) => ({ first: 0, ends: [qEnd] })),
    ofInterval: kvIntervals.map(({ end }) => ({ first: 0, ends: [end] })),
  };
}

/** How the plane is told which blocks the rows [begin, end) of a line belong to. */
export function blocksOf(
  { first, ends }: BlockLine,
  { begin, end }: RowRange,
): { readonly granule: number; readonly granuleEnds: readonly number[] } {
  const from = ends.findIndex((blockEnd) => blockEnd > begin);
  const to = ends.findIndex((blockEnd) => blockEnd >= end);
  return { granule: first + from, granuleEnds: ends.slice(from, to).map((blockEnd) => blockEnd - begin) };
}

/**
 * Per granule, the keys of its unit's interval whose sums are final when it is done, granules going in their order, and were not
 * before. Rows of a segment leave in their order, so these are always the next ones.
 */
export function finalKeys(
  { kvIntervals, kvIntervalOfUnit }: RankTable,
  granules: readonly Granule[],
): RowRange[] {
  const lowestLater = kvIntervals.map(({ end }) => end);
  const finalBefore = granules.map(() => 0);
  for (let index = granules.length - 1; index >= 0; index--) {
    const { unit, keys } = granules[index]!;
    if (keys === null) continue;
    const interval = kvIntervalOfUnit[unit]!;
    finalBefore[index] = lowestLater[interval]!;
    lowestLater[interval] = Math.min(lowestLater[interval]!, keys.begin);
  }
  const left = kvIntervals.map(({ begin }: KvInterval) => begin);
  return granules.map(({ unit, keys }, index) => {
    if (keys === null) return { begin: 0, end: 0 };
    const interval = kvIntervalOfUnit[unit]!;
    const begin = left[interval]!;
    const end = Math.max(begin, finalBefore[index]!);
    left[interval] = end;
    return { begin, end };
  });
}
