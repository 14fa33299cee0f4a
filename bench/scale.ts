import { parseArgs } from 'node:util';
import { printResult, readResults, statedResult, writeResults, type Result, type Target } from './results.js';
import { calibrate, MEASURED, thisMachine, type Calibration, type MeasuredStep } from './scale/calibrate.js';
import type { Machine } from './scale/machine.js';
import { predictStep } from './scale/predict-step.js';
import type { Workload } from './scale/workload.js';
import { median } from './windows.js';

/**
 * What steps would take on more ranks than there are here: the product's plans, run through an event model of the exchange
 * (`scale/simulate-pass.ts`). First the model is held against steps measured on this machine, P = 2 to 16, of which it is told
 * nothing: its inputs are an empty step's time, the kernels' rate in one process, and an all-to-all's cost per byte.
 *
 * Run: `npm run bench:scale`; `-- --help` says what can be asked.
 */
const OPTIONS = {
  ranks: { type: 'string', default: '2,4,8,16,32,64,128,256,512,1024' },
  'rows-per-rank': { type: 'string', default: '4096' },
  heads: { type: 'string', default: '40' },
  'kv-heads': { type: 'string', default: '8' },
  'head-size': { type: 'string', default: '128' },
  'link-gbit': { type: 'string', default: '400' },
  'latency-us': { type: 'string', default: '10' },
  'message-us': { type: 'string', default: '1' },
  'device-tflops': { type: 'string', default: '400' },
  'control-ms': { type: 'string' },
  'control-us-per-rank': { type: 'string' },
  'no-measure': { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

const HELP = `npm run bench:scale -- [--ranks 2,64,1024] [--rows-per-rank N] [--heads N] [--kv-heads N] [--head-size N]
  [--link-gbit N] [--latency-us N] [--message-us N] [--device-tflops N]   one rank per host; a link has this rate each way
  [--control-ms N] [--control-us-per-rank N]   of agreement and commit, instead of what empty steps of this machine take
  [--no-measure]   predict from the calibration in bench/results/scale.json
Predictions are written there when only --ranks and --no-measure are given.`;

/** Rows that no number of ranks divides: three fewer than would. */
const MISSING_ROWS = 3;

/** What the model is told of this machine, as it stands in the results. */
const INPUTS = {
  workers: ['input workers', 'cores that compute and copy', 'cores'],
  gflopsPerWorker: ['input device', 'kernels in one process, forward and backward', 'GFLOP/CPU-s'],
  localSecondsPerGb: ['input copy', 'all-to-all of 4 processes of one host', 'CPU-s/GB'],
  controlMs: ['input control', 'an empty forward: what does not grow with ranks', 'ms'],
  controlMsPerRank: [
    'input control per rank',
    'an empty forward, as many owners as ranks: what grows',
    'ms per rank',
  ],
} as const satisfies Record<keyof Calibration, readonly [string, string, string]>;

const { values: flags } = parseArgs({ options: OPTIONS });
const isDescribed = Object.entries(OPTIONS).every(
  ([name, option]) =>
    ['ranks', 'no-measure', 'help'].includes(name) ||
    flags[name as keyof typeof flags] === ('default' in option ? option.default : undefined),
);
if (flags.help) console.log(HELP);
else await run();

async function run(): Promise<void> {
  const { calibration, steps } = flags['no-measure']
    ? { calibration: readCalibration(), steps: [] }
    : await calibrate();
  if (!flags['no-measure']) report(statedCalibration(calibration));
  report(steps.map((step) => againstMeasured(step, thisMachine(calibration))));
  for (const cpSize of flags.ranks.split(',').map(numberOf)) {
    const results = predictions(cpSize, cluster(calibration));
    results.forEach(printPrediction);
    // What the documentation shows is of the machine that this file describes.
    if (isDescribed) writeResults('scale', results);
  }
}

function report(results: readonly Result[]): void {
  results.forEach(printResult);
  writeResults('scale', results);
}

/** The larger of model and measurement over the smaller is what counts: a model may err on either side. */
function againstMeasured({ cpSize, stepMs }: MeasuredStep, machine: Machine): Result {
  const way = MEASURED.qHeads % cpSize === 0 ? 'heads' : 'balanced';
  const modelled = predictStep(MEASURED, cpSize, way, machine).ms;
  const apart = (measured: number): number => Math.max(modelled, measured) / Math.min(modelled, measured);
  const measured = median(stepMs);
  const target: Target = {
    case: `model P=${String(cpSize)}`,
    what: `whole step by the model, against the same step measured (${way}, s = 8190, h = 8, d = 64, one host)`,
    unit: 'ms',
    must: 1.25,
    ambitious: 1.1,
    lowerIsBetter: true,
  };
  const apartOf = stepMs.map(apart).sort((a, b) => a - b);
  const stated = statedResult(target, modelled, measured);
  return {
    ...stated,
    ratio: rounded(apart(measured)),
    spread: [rounded(apartOf[0]!), rounded(apartOf.at(-1)!)],
    windows: stepMs.length,
  };
}

/** heads and balanced, each against an aligned exchange of padded rows and heads. */
function predictions(cpSize: number, machine: Machine): Result[] {
  const workload: Workload = {
    rows: numberOf(flags['rows-per-rank']) * cpSize - MISSING_ROWS,
    qHeads: numberOf(flags.heads),
    kvHeads: numberOf(flags['kv-heads']),
    headSize: numberOf(flags['head-size']),
    dtype: 'bf16',
  };
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

/** The cluster that is asked about; agreement takes what it does on this machine, unless flags say otherwise. */
function cluster({ controlMs, controlMsPerRank }: Calibration): Machine {
  return {
    ranksPerHost: 1,
    workersPerHost: 1,
    workerFlopsPerSecond: numberOf(flags['device-tflops']) * 1e12,
    localSecondsPerByte: 0,
    linkBytesPerSecond: (numberOf(flags['link-gbit']) * 1e9) / 8,
    latencySeconds: numberOf(flags['latency-us']) / 1e6,
    messageSeconds: numberOf(flags['message-us']) / 1e6,
    controlSeconds: or(flags['control-ms'], controlMs) / 1000,
    controlSecondsPerRank: or(flags['control-us-per-rank'], controlMsPerRank * 1000) / 1e6,
  };
}

function statedCalibration(calibration: Calibration): Result[] {
  return (Object.keys(INPUTS) as (keyof Calibration)[]).map((key) => {
    const [name, what, unit] = INPUTS[key];
    const target = { case: name, what, unit, must: null, ambitious: null, lowerIsBetter: true };
    return statedResult(target, calibration[key], null);
  });
}

function readCalibration(): Calibration {
  const results = readResults('scale');
  const read = (key: keyof Calibration): number => {
    const found = results.find((result) => result.case === INPUTS[key][0]);
    if (found === undefined)
      throw new Error(`${INPUTS[key][0]} is not in bench/results/scale.json: measure once`);
    return found.value;
  };
  return {
    workers: read('workers'),
    gflopsPerWorker: read('gflopsPerWorker'),
    localSecondsPerGb: read('localSecondsPerGb'),
    controlMs: read('controlMs'),
    controlMsPerRank: read('controlMsPerRank'),
  };
}

function printPrediction({ case: name, value, peer, ratio, scale }: Result): void {
  if (scale === undefined) return;
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(3)} GB`;
  console.log(
    `[${name}] ${value} ms (agreement ${scale.controlMs}), padded ${peer} ms, ratio ${ratio}; per rank ` +
      `${gigabytes(scale.bytesPerRank)}, padded ${gigabytes(scale.peerBytesPerRank)}; balance ${scale.balance}`,
  );
}

function numberOf(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new RangeError(`${text} is not a number above 0\n${HELP}`);
  return value;
}

function or(text: string | undefined, otherwise: number): number {
  return text === undefined ? otherwise : numberOf(text);
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
