import { lineOf } from './line.js';
import { rowNearPairs, sampleMasks, samplePairs, type SampleMask } from './sample-mask.js';
import type { StepSpec } from './spec.js';
import { splitOffsets, splitSizes } from './split-sizes.js';

/** Where the line is cut: cpSize + 1 non-decreasing positions from 0 to its length. */
export function cutLine(spec: StepSpec, cpSize: number): number[] {
  return spec.strategy === 'heads' ? headCuts(spec, cpSize) : balancedCuts(spec, cpSize);
}

/** Whole heads, `splitSizes(qHeads, cpSize)`; a rank without a head idles. */
export function headCuts(spec: StepSpec, cpSize: number): number[] {
  const headLength = spec.batch * lineOf(spec).laneRows;
  return splitOffsets(splitSizes(spec.qHeads, cpSize)).map((head) => head * headLength);
}

/** Pieces of equal visible work, or of work in proportion to the ranks' weights; equal rows when nothing is visible. */
function balancedCuts(spec: StepSpec, cpSize: number): number[] {
  const weightsBefore = splitOffsets(spec.weights ?? new Array<number>(cpSize).fill(1));
  const weight = weightsBefore[cpSize]!;
  const masks = sampleMasks(spec);
  const workBefore = splitOffsets(masks.map((mask) => spec.qHeads * samplePairs(mask)));
  const work = workBefore[spec.batch]!;
  const { laneRows, length } = lineOf(spec);

  const cuts = [0];
  let batch = 0;
  for (let rank = 1; rank < cpSize; rank++) {
    const before = weightsBefore[rank]!;
    const target = Math.min((work * before) / weight, work);
    if (before === 0 || before === weight) {
      // Ranks of weight 0 at either end get nothing, not even rows that see nothing.
      cuts.push(before === 0 ? 0 : length);
    } else if (target === 0) {
      cuts.push(Math.round((length * before) / weight));
    } else {
      while (workBefore[batch + 1]! < target) batch++;
      const { head, row } = placeInSample(masks[batch]!, spec.qHeads, laneRows, target - workBefore[batch]!);
      cuts.push((batch * spec.qHeads + head) * laneRows + row);
    }
  }
  cuts.push(length);
  return cuts;
}

/** The head and row of a sample with the number of visible pairs before it nearest to `work`, which is positive. */
function placeInSample(
  mask: SampleMask,
  qHeads: number,
  laneRows: number,
  work: number,
): { head: number; row: number } {
  const headWork = samplePairs(mask);
  const head = Math.min(Math.ceil(work / headWork), qHeads) - 1;
  const row = rowNearPairs(mask, Math.min(work - head * headWork, headWork));
  // Rows that see nothing cost nothing: those at a head's ends stay with the head.
  const { bands } = mask;
  return { head, row: row <= bands[0]!.qBegin ? 0 : row >= bands.at(-1)!.qEnd ? laneRows : row };
}
