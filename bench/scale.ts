import type { Config } from '@ulysses/runtime';
import { readCommandLine } from './read-command-line.js';
import { printResult, statedResult, writeResults, type Result, type Target } from './results.js';
import { calibrate, controlCost, thisMachine, type Calibration } from './scale/calibrate.js';
import { INPUT_GROUP, inputResults, storedCalibration } from './scale/inputs.js';
import type { Machine } from './scale/machine.js';
import { measureLink } from './scale/measure-link.js';
import { MODEL_GROUP, modelOfLink, modelOfSteps } from './scale/model-results.js';
import { CHECKS, OPTIONS } from './scale/options.js';
import { predictStep } from './scale/predict-step.js';
import type { Workload } from './scale/workload.js';

/**
 * What steps would take on more ranks than there are here: the product's plans, run through an event model of the exchange
 * (`scale/simulate-pass.ts`). First the model is held against steps measured on this machine, of which it is told nothing: at P = 2
 * to 16, and over a limited link. Its inputs are the CPU time of the processes of an empty step, the kernels' rate in one process, an
 * all-to-all's cost per byte, and the link's rate and latency.
 */
const { flags } = readCommandLine({
  command: 'npm run bench:scale',
  about: `What a step would take on more ranks than there are here, by an event model of the exchange over the product's own plans. First
the model is held against steps measured on this machine: "model P=2", 4, 8 and 16, all processes on this host, and "empty", a forward of
nothing; and "model link 50 MB/s", 100 and 200, the trainer at the other end of a limited link, which takes root, for a network namespace.
What is measured goes to bench/results/scale.json, and with npm run bench:docs to docs/benchmarks.md. Predictions do too, unless flags ask for another cluster than the usual one.`,
  takes: 'Measuring takes about seven minutes, predicting up to P = 1024 about a minute.',
  options: OPTIONS,
  checks: CHECKS,
});
type Flags = Config<typeof OPTIONS>;

/** Rows that no number of ranks divides: three fewer than would. */
const MISSING_ROWS = 3;

const calibration = flags.measure ? await measure() : storedCalibration();
for (const cpSize of flags.ranks) {
  const results = predictions(cpSize, flags, calibration);
  results.forEach(printPrediction);
  // What the documentation shows is of the cluster that the defaults describe.
  if (isUsual(flags)) writeResults('scale', results);
}

/** Measures this machine, and holds the model against it. */
async function measure(): Promise<Calibration> {
  const { calibration, steps } = await calibrate();
  report(inputResults(calibration), INPUT_GROUP);
  const machine = thisMachine(calibration);
  report(
    steps.flatMap((step) => modelOfSteps(step, machine)),
    MODEL_GROUP,
  );
  report(modelOfLink(await measureLink(), machine), null);
  return calibration;
}

/** In place of all results of a group, when one is named. */
function report(results: readonly Result[], group: string | null): void {
  results.forEach(printResult);
  writeResults('scale', results, group);
}

/** heads and balanced, each against an aligned exchange of padded rows and heads. */
function predictions(cpSize: number, flags: Flags, calibration: Calibration): Result[] {
  const workload: Workload = {
    rows: flags.rowsPerRank * cpSize - MISSING_ROWS,
    qHeads: flags.heads,
    kvHeads: flags.kvHeads,
    headSize: flags.headSize,
    dtype: 'bf16',
  };
  const machine = cluster(flags, calibration);
  const peer = predictStep(workload, cpSize, 'padded', machine);
  return (['heads', 'balanced'] as const).map((way) => {
    const { ms, controlMs, bytesPerRank, balance } = predictStep(workload, cpSize, way, machine);
    const { rows, qHeads, kvHeads, headSize } = workload;
    const target: Target = {
      case: `P=${String(cpSize)} ${way}`,
      what: `whole step by the model, against padded and aligned: s = ${rows}, h = ${qHeads}, h_kv = ${kvHeads}, d = ${headSize}, bf16, causal`,
      unit: 'ms',
      must: null,
      ambitious: null,
      lowerIsBetter: true,
    };
    return statedResult(target, ms, peer.ms, {
      cpSize,
      bytesPerRank,
      peerBytesPerRank: peer.bytesPerRank,
      balance: rounded(balance),
      peerBalance: rounded(peer.balance),
      controlMs: rounded(controlMs),
      workMs: rounded(ms - controlMs),
      peerWorkMs: rounded(peer.ms - peer.controlMs),
    });
  });
}

/** The cluster that is asked about: a host for each rank and the owner beside it; processes take the CPU time that they take here. */
function cluster(flags: Flags, calibration: Calibration): Machine {
  return {
    ranksPerHost: 1,
    owners: 'beside ranks',
    workersPerHost: 1,
    workerFlopsPerSecond: flags.deviceTflops * 1e12,
    localSecondsPerByte: 0,
    linkBytesPerSecond: (flags.linkGbit * 1e9) / 8,
    latencySeconds: flags.latencyUs / 1e6,
    messageSeconds: flags.messageUs / 1e6,
    control: controlCost(calibration),
  };
}

/** Which ranks are asked about, and whether to measure, change no result. */
function isUsual(flags: Flags): boolean {
  const names = Object.keys(OPTIONS) as (keyof Flags)[];
  return names.every(
    (name) => ['ranks', 'measure'].includes(name) || flags[name] === OPTIONS[name].fallback?.value,
  );
}

function printPrediction({ case: name, value, peer, ratio, scale }: Result): void {
  if (scale === undefined) return;
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(3)} GB`;
  console.log(
    `[${name}] ${value} ms (agreement ${scale.controlMs}), padded ${peer} ms, ratio ${ratio}; per rank ` +
      `${gigabytes(scale.bytesPerRank)}, padded ${gigabytes(scale.peerBytesPerRank)}; balance ${scale.balance}`,
  );
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
