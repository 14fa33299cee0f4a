import { invariant } from '@ulysses/errors';
import { laneAt, lineOf } from './line.js';
import { sampleMasks, visibleRuns, type SampleMask } from './sample-mask.js';
import type { KvInterval, Plan, RankTable, RowRange, StepSpec, Unit } from './spec.js';

/** What one rank computes. */
export function rankTable(plan: Plan, rank: number): RankTable {
  invariant(Number.isInteger(rank) && rank >= 0 && rank < plan.cpSize, 'a rank outside the plan', {
    field: 'rank',
    value: rank,
    expected: `0 to ${plan.cpSize - 1}`,
  });
  return buildTable(plan, lanesOf(plan.spec), rank);
}

/** The tables of all ranks, in rank order. */
export function rankTables(plan: Plan): RankTable[] {
  const lanes = lanesOf(plan.spec);
  return Array.from({ length: plan.cpSize }, (_, rank) => buildTable(plan, lanes, rank));
}

/** A unit and the keys its rows see: one range without gaps, or none. */
interface UnitKeys {
  readonly unit: Unit;
  readonly keys: RowRange | null;
}

/** What all ranks' tables are made from. */
interface Lanes {
  readonly rows: number;
  readonly masks: readonly SampleMask[];
}

function lanesOf(spec: StepSpec): Lanes {
  return { rows: lineOf(spec).laneRows, masks: sampleMasks(spec) };
}

function buildTable(plan: Plan, lanes: Lanes, rank: number): RankTable {
  const found = unitsBetween(plan, lanes, plan.cuts[rank]!, plan.cuts[rank + 1]!);
  const { kvIntervals, kvIntervalOfUnit } = mergeKeys(plan.spec, found);
  return { rank, units: found.map(({ unit }) => unit), kvIntervals, kvIntervalOfUnit };
}

function unitsBetween(plan: Plan, { rows, masks }: Lanes, begin: number, end: number): UnitKeys[] {
  if (begin === end) return [];
  const found: UnitKeys[] = [];
  for (let lane = Math.floor(begin / rows); lane * rows < end; lane++) {
    const { batch, qHead } = laneAt(plan.spec, lane);
    const qBegin = Math.max(0, begin - lane * rows);
    const qEnd = Math.min(rows, end - lane * rows);
    for (const run of visibleRuns(masks[batch]!, qBegin, qEnd)) {
      found.push({ unit: { batch, qHead, qBegin: run.qBegin, qEnd: run.qEnd }, keys: run.keys });
    }
  }
  return found;
}

/**
 * The rows that a rank reads of every (sample, KV head), as disjoint intervals that do not touch, numbered in the order
 * in which units first read them.
 */
function mergeKeys(
  { qHeads, kvHeads }: StepSpec,
  found: readonly UnitKeys[],
): Pick<RankTable, 'kvIntervals' | 'kvIntervalOfUnit'> {
  const queryHeadsPerKvHead = qHeads / kvHeads;
  const reads: (KvInterval & { readonly unit: number })[] = [];
  found.forEach(({ unit: { batch, qHead }, keys }, unit) => {
    if (keys === null) return;
    const kvHead = Math.floor(qHead / queryHeadsPerKvHead);
    reads.push({ batch, kvHead, begin: keys.begin, end: keys.end, unit });
  });
  reads.sort((a, b) => a.batch - b.batch || a.kvHead - b.kvHead || a.begin - b.begin);

  const merged: {
    batch: number;
    kvHead: number;
    begin: number;
    end: number;
    units: number[];
    firstUnit: number;
  }[] = [];
  for (const { batch, kvHead, begin, end, unit } of reads) {
    const last = merged.at(-1);
    if (last === undefined || last.batch !== batch || last.kvHead !== kvHead || last.end < begin) {
      merged.push({ batch, kvHead, begin, end, units: [unit], firstUnit: unit });
    } else {
      last.end = Math.max(last.end, end);
      last.units.push(unit);
      last.firstUnit = Math.min(last.firstUnit, unit);
    }
  }
  merged.sort((a, b) => a.firstUnit - b.firstUnit);

  const kvIntervalOfUnit = new Array<number>(found.length).fill(-1);
  merged.forEach(({ units }, interval) => {
    for (const unit of units) kvIntervalOfUnit[unit] = interval;
  });
  const kvIntervals = merged.map(({ batch, kvHead, begin, end }) => ({ batch, kvHead, begin, end }));
  return { kvIntervals, kvIntervalOfUnit };
}
