import { relative } from 'node:path';
import { paddingRowsAvoided, type AttentionReport } from './attention/attention.js';
import type { StepResult } from './train.js';

const MOST_RANKS_LISTED = 8;
const MOST_TABLE_ROWS = 50;

/** One line per step: what was learnt, how fast, and how its exchanges were spread. */
export function progressLine(result: StepResult, steps: number, heads: number): string {
  const { gatherSize, rowsPerRank, headsPerRank } = result.reports[0] as AttentionReport;
  const bytes = result.reports.reduce((sum, report) => sum + report.bytesExchanged, 0);
  const avoided = paddingRowsAvoided(gatherSize, heads, rowsPerRank.length);
  return [
    `step ${String(result.step).padStart(String(steps).length)}/${steps}`,
    `loss ${result.loss.toFixed(4)}`,
    `${tokensPerSecond([result])} tokens/s`.padStart(14),
    `gather ${String(gatherSize).padStart(4)}`,
    `rows ${perRank(rowsPerRank)}`,
    `heads ${perRank(headsPerRank)}`,
    `exchanged ${(bytes / 2 ** 20).toFixed(1)} MiB`,
    `padding avoided ${avoided} rows`,
    chunkName(result),
  ].join('  ');
}

/** The losses of two trainings side by side; thinned out when there are many. */
export function lossTable(cluster: readonly StepResult[], local: readonly StepResult[]): string {
  const every = Math.ceil(cluster.length / MOST_TABLE_ROWS);
  const lines = ['step   rows     cluster  one device  difference'];
  for (const [index, result] of cluster.entries()) {
    if (index % every !== 0 && index !== cluster.length - 1) continue;
    const other = local[index] as StepResult;
    lines.push(
      [
        String(result.step).padStart(4),
        String(result.chunk.length).padStart(7),
        result.loss.toFixed(6).padStart(12),
        other.loss.toFixed(6).padStart(12),
        relativeDifference(result, other).toExponential(1).padStart(12),
      ].join(''),
    );
  }
  return [
    ...lines,
    `tokens/s: cluster ${tokensPerSecond(cluster)}, one device ${tokensPerSecond(local)}`,
  ].join('\n');
}

/** Largest relative difference of the losses; NaN when a loss is not a number. */
export function largestDifference(cluster: readonly StepResult[], local: readonly StepResult[]): number {
  return Math.max(...cluster.map((result, index) => relativeDifference(result, local[index] as StepResult)));
}

function relativeDifference(cluster: StepResult, local: StepResult): number {
  return Math.abs(cluster.loss - local.loss) / Math.abs(local.loss);
}

function tokensPerSecond(results: readonly StepResult[]): number {
  const tokens = results.reduce((sum, { chunk }) => sum + chunk.length, 0);
  const elapsedMs = results.reduce((sum, result) => sum + result.elapsedMs, 0);
  return Math.round((tokens * 1000) / elapsedMs);
}

function perRank(values: readonly number[]): string {
  const texts = values.map((value) => String(Number(value.toFixed(2))));
  if (texts.length <= MOST_RANKS_LISTED) return texts.join('+');
  return `${Number(Math.min(...values).toFixed(2))} to ${Number(Math.max(...values).toFixed(2))}`;
}

function chunkName({ chunk }: StepResult): string {
  const name = relative(process.cwd(), chunk.path);
  return chunk.begin === 0 ? name : `${name}@${chunk.begin}`;
}
