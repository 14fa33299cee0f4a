import { createPlan, rankTable, splitSizes, type StepSpec } from '@ulysses/plan';
import { readCommandLine } from './read-command-line.js';

/**
 * CPU time of planning: all cuts (`createPlan`, checks and id included) and one rank's table, at P = 1024.
 * Must: 20 ms. Aim: 2 ms. Peer: a per-row planner, which adds up visible keys row by row and does nothing else.
 */
const CP_SIZE = 1024;
const Q_HEADS = 128;
const REPEATS = 101;
const PEER_REPEATS = 5;
const MUST_MS = 20;

const cases: readonly { readonly name: string; readonly spec: StepSpec }[] = [
  { name: 'packed, 512 samples, s = 131072, causal', spec: packed(512, 131_072) },
  { name: 'one sequence, s = 131072, causal', spec: packed(1, 131_072) },
];

const { wants } = readCommandLine({
  command: 'npm run bench:plan',
  about: `CPU time of planning at P = ${CP_SIZE}: all cuts, checks and id included, and one rank's table; against a planner that walks every
row. Prints, writes nothing, and exits with 1 when a median is over ${MUST_MS} ms.`,
  takes: 'It takes some seconds.',
  options: {},
  cases: { by: 'words', of: () => cases.map(({ name }) => name) },
});

for (const { name, spec } of cases) {
  if (!wants(name)) continue;
  const firstMs = cpuMs(() => planAndTable(spec));
  const plan = Array.from({ length: REPEATS }, () => cpuMs(() => planAndTable(spec))).sort(ascending);
  const peer = Array.from({ length: PEER_REPEATS }, () => cpuMs(() => cutRowByRow(spec))).sort(ascending);
  const ratio = median(peer) / median(plan);
  console.log(`${name}: P = ${CP_SIZE}, ${Q_HEADS} heads, ${spec.qSplits.length} owners`);
  console.log(`  plan + one table    ${spread(plan)}, first call ${firstMs.toFixed(2)} ms CPU`);
  console.log(`  per-row planner     ${spread(peer)}`);
  console.log(`  ${ratio.toFixed(0)} times less CPU than the per-row planner`);
  if (median(plan) > MUST_MS) {
    console.log(`  FAILED: over ${MUST_MS} ms`);
    process.exitCode = 1;
  }
}

/** `samples` uneven samples on the token axis, as many owners as ranks. */
function packed(samples: number, rows: number): StepSpec {
  const cuSeqlens = [0];
  // Lengths from 1/8 to 15/8 of the mean, in an order without a pattern.
  for (let sample = 1; sample < samples; sample++) {
    const jitter = (((sample * 2_654_435_761) % 4_294_967_296) / 4_294_967_296 - 0.5) * 1.75;
    cuSeqlens.push(Math.round((rows / samples) * (sample + jitter / 2)));
  }
  cuSeqlens.push(rows);
  const splits = splitSizes(rows, CP_SIZE);
  return {
    dtype: 'bf16',
    layout: 'thd',
    batch: 1,
    qHeads: Q_HEADS,
    kvHeads: 8,
    headSize: 128,
    qSplits: splits,
    kvSplits: splits,
    mask: {
      left: null,
      right: 0,
      segments: { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens },
      validRanges: null,
    },
    scale: Math.fround(1 / Math.sqrt(128)),
    strategy: 'balanced',
    weights: null,
  };
}

function planAndTable(spec: StepSpec): void {
  rankTable(createPlan(spec, CP_SIZE), CP_SIZE / 2);
}

/** The peer: one loop over all rows of all heads that cuts whenever a rank has its share. Causal segments only. */
function cutRowByRow({ qHeads, mask }: StepSpec): number[] {
  const sums = mask.segments?.cuSeqlensQ ?? [];
  let headWork = 0;
  for (let segment = 0; segment + 1 < sums.length; segment++) {
    const rows = sums[segment + 1]! - sums[segment]!;
    headWork += (rows * (rows + 1)) / 2;
  }
  const share = (qHeads * headWork) / CP_SIZE;
  const cuts = [0];
  let position = 0;
  let work = 0;
  for (let head = 0; head < qHeads; head++) {
    for (let segment = 0; segment + 1 < sums.length; segment++) {
      const rows = sums[segment + 1]! - sums[segment]!;
      for (let row = 0; row < rows; row++) {
        work += row + 1;
        position += 1;
        if (work >= share * cuts.length) cuts.push(position);
      }
    }
  }
  return cuts;
}

function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function spread(sorted: readonly number[]): string {
  const [least, most] = [sorted[0]!, sorted.at(-1)!];
  return `median ${median(sorted).toFixed(2)} ms CPU (${least.toFixed(2)} to ${most.toFixed(2)})`;
}

function median(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length / 2)]!;
}

function ascending(a: number, b: number): number {
  return a - b;
}
