import { invariant } from '@ulysses/errors';
import { laneAt, lineOf } from './line.js';
import { rankTables } from './rank-table.js';
import { pairsBeforeRow, sampleMasks, samplePairs } from './sample-mask.js';
import type { Plan, RankTable } from './spec.js';
import { splitOffsets, sumOf } from './split-sizes.js';

/**
 * Checks a plan's own sums through the tables that ranks will work from:
 * every query row of every head is in exactly one unit; units that see keys have an interval; all visible work is done;
 * every owner's rows are received as often as it sends them.
 *
 * @throws INVARIANT
 */
export function selfCheck(plan: Plan): void {
  const tables = rankTables(plan);
  checkUnitsTileTheLine(plan, tables);
  checkWork(plan, tables);
  checkOwnersRows(plan, tables);
}

/** Units, rank after rank, continue each other from the line's start to its end. */
function checkUnitsTileTheLine({ spec }: Plan, tables: readonly RankTable[]): void {
  const { laneRows, length } = lineOf(spec);
  let position = 0;
  for (const { rank, units } of tables) {
    for (const { batch, qHead, qBegin, qEnd } of units) {
      const lane = laneAt(spec, Math.floor(position / laneRows));
      const next = batch === lane.batch && qHead === lane.qHead && qBegin === position % laneRows;
      invariant(next && qBegin < qEnd && qEnd <= laneRows, 'units do not continue each other', {
        rank,
        position,
      });
      position += qEnd - qBegin;
    }
  }
  invariant(position === length, 'units do not reach the end of the line', {
    position,
    expected: String(length),
  });
}

/** Units with an interval hold all visible pairs. */
function checkWork({ spec }: Plan, tables: readonly RankTable[]): void {
  const masks = sampleMasks(spec);
  const expected = spec.qHeads * sumOf(masks.map(samplePairs));
  let work = 0;
  for (const { units, kvIntervalOfUnit } of tables) {
    units.forEach(({ batch, qBegin, qEnd }, index) => {
      if (kvIntervalOfUnit[index] === -1) return;
      work += pairsBeforeRow(masks[batch]!, qEnd) - pairsBeforeRow(masks[batch]!, qBegin);
    });
  }
  // Beyond 2^53 pairs sums are rounded.
  const exact = Number.isSafeInteger(expected);
  invariant(
    exact ? work === expected : Math.abs(work - expected) < expected * 1e-9,
    'units miss visible work',
    {
      value: work,
      expected: String(expected),
    },
  );
}

/** Over all units, every row of an owner's shard appears once per sample and head. */
function checkOwnersRows({ spec }: Plan, tables: readonly RankTable[]): void {
  const offsets = splitOffsets(spec.qSplits);
  const received = new Array<number>(spec.qSplits.length).fill(0);
  // Units that have all rows of an owner's shard, as steps from one owner to the next.
  const wholeShards = new Array<number>(spec.qSplits.length + 1).fill(0);
  for (const { units } of tables) {
    for (const { qBegin, qEnd } of units) {
      const first = ownerOf(offsets, qBegin);
      const last = ownerOf(offsets, qEnd - 1);
      if (first === last) {
        received[first]! += qEnd - qBegin;
      } else {
        received[first]! += offsets[first + 1]! - qBegin;
        received[last]! += qEnd - offsets[last]!;
        wholeShards[first + 1]! += 1;
        wholeShards[last]! -= 1;
      }
    }
  }
  let whole = 0;
  received.forEach((partial, owner) => {
    whole += wholeShards[owner]!;
    const rows = partial + whole * spec.qSplits[owner]!;
    const sent = spec.qSplits[owner]! * spec.batch * spec.qHeads;
    invariant(rows === sent, 'rows sent are not the rows received', { owner, sent, received: rows });
  });
}

/** The owner of a row: the last one that begins at it or before. */
function ownerOf(offsets: readonly number[], row: number): number {
  let low = 0;
  let high = offsets.length - 2;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (offsets[middle]! <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}
