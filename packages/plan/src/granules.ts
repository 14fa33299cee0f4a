import { pairsBeforeRow, rowNearPairs, sampleMasks, visibleRuns, type SampleMask } from './sample-mask.js';
import type { Plan, RankTable, RowRange, Unit } from './spec.js';

/** Rows of a unit that are computed together: as soon as they and the keys that they see are there. */
export interface Granule {
  /** Its place in the rank's table. */
  readonly unit: number;
  readonly qBegin: number;
  readonly qEnd: number;
  /** What these rows see: one range without gaps, or none. */
  readonly keys: RowRange | null;
}

/** What a rank's work is cut into, more or less: each a call of the device and a wait for rows. */
const GRANULES = 16;
/** Less work than this is not worth a call of its own: (row, key) pairs, and rows, whose way there and back counts as so many. */
const GRANULE_WORK = 2 ** 19;
const PAIRS_PER_ROW = 512;
/** Whole tiles of every kernel's forward. */
const TILE_ROWS = 128;

/**
 * Each table's granules, unit by unit, rows ascending. They depend on the plan alone: so do the sums of a backward that goes
 * granule by granule, and an owner knows which rows its ranks wait for first.
 */
export function granulesOf({ spec }: Plan, tables: readonly RankTable[]): Granule[][] {
  const masks = sampleMasks(spec);
  return tables.map(({ units }) => {
    const work = units.map((unit) => {
      const pairs = pairsOf(masks[unit.batch]!, unit);
      return pairs === 0 ? 0 : pairs + (unit.qEnd - unit.qBegin) * PAIRS_PER_ROW;
    });
    const most = Math.max(GRANULE_WORK, work.reduce((sum, count) => sum + count, 0) / GRANULES);
    return units.flatMap((unit, index) => {
      const mask = masks[unit.batch]!;
      const edges = evenEdges(mask, unit, Math.floor(work[index]! / most));
      return edges
        .slice(1)
        .flatMap((end, piece) =>
          visibleRuns(mask, edges[piece]!, end).map((run) => ({ unit: index, ...run })),
        );
    });
  });
}

/** Whether all of a rank's work is no more than one call is worth: then there is nothing to overlap. */
export function isOneCall(granules: readonly Granule[]): boolean {
  const work = granules.reduce((sum, { qBegin, qEnd, keys }) => {
    return keys === null ? sum : sum + (qEnd - qBegin) * (keys.end - keys.begin + PAIRS_PER_ROW);
  }, 0);
  return work <= GRANULE_WORK;
}

/** A unit's rows cut at whole tiles into at most `count` pieces of about as many pairs. */
function evenEdges(mask: SampleMask, unit: Unit, count: number): number[] {
  const before = pairsBeforeRow(mask, unit.qBegin);
  const pairs = pairsOf(mask, unit);
  const edges = [unit.qBegin];
  for (let piece = 1; piece < count; piece++) {
    const row = rowNearPairs(mask, before + (pairs * piece) / count);
    const edge = unit.qBegin + TILE_ROWS * Math.round((row - unit.qBegin) / TILE_ROWS);
    if (edge > edges.at(-1)! && edge < unit.qEnd) edges.push(edge);
  }
  edges.push(unit.qEnd);
  return edges;
}

function pairsOf(mask: SampleMask, { qBegin, qEnd }: Unit): number {
  return pairsBeforeRow(mask, qEnd) - pairsBeforeRow(mask, qBegin);
}
