import { availableParallelism } from 'node:os';
import { AllToAll } from '../all-to-all.js';
import { movedBytes } from '../all-to-all-slices.js';
import { BenchCluster } from '../cluster.js';
import { OneProcess } from '../one-process.js';
import { Owners } from '../owners.js';
import { median } from '../windows.js';
import { fitLine } from './fit-line.js';
import type { Machine } from './machine.js';
import type { Workload } from './workload.js';

/** The step that is measured, and modelled beside it. */
export const MEASURED: Workload = { rows: 8190, qHeads: 8, kvHeads: 8, headSize: 64, dtype: 'f32' };
export const MEASURED_RANKS = [2, 4, 8, 16] as const;
const WINDOWS = 5;
const EMPTY_STEPS = 40;
const EXCHANGE = { members: 4, mib: 16, repeats: 10 } as const;

/** What the model is given of this machine. None of it is taken from the steps that the model is held against. */
export interface Calibration {
  readonly workers: number;
  /** Per second of CPU time, so that other work beside matters less. */
  readonly gflopsPerWorker: number;
  /** CPU seconds per GB that moves from one process to another. */
  readonly localSecondsPerGb: number;
  readonly controlMs: number;
  readonly controlMsPerRank: number;
}

/** One number of ranks of this machine, with as many owners. */
export interface MeasuredStep {
  readonly cpSize: number;
  readonly emptyMs: number;
  /** Of every window. */
  readonly stepMs: readonly number[];
}

export async function calibrate(): Promise<{ calibration: Calibration; steps: MeasuredStep[] }> {
  const workers = availableParallelism();
  const steps: MeasuredStep[] = [];
  for (const cpSize of MEASURED_RANKS) steps.push(await measureSteps(cpSize));
  const control = fitLine(steps.map(({ cpSize, emptyMs }) => ({ x: cpSize, y: emptyMs })));
  const calibration = {
    workers,
    gflopsPerWorker: await measureDevice(workers),
    localSecondsPerGb: await measureExchange(),
    controlMs: Math.max(0, control.base),
    controlMsPerRank: Math.max(0, control.slope),
  };
  return { calibration, steps };
}

/** All processes on this one host: its cores compute and copy, and no link is crossed. */
export function thisMachine(calibration: Calibration): Machine {
  return {
    ranksPerHost: Infinity,
    workersPerHost: calibration.workers,
    workerFlopsPerSecond: calibration.gflopsPerWorker * 1e9,
    localSecondsPerByte: calibration.localSecondsPerGb / 1e9,
    linkBytesPerSecond: Infinity,
    latencySeconds: 0,
    messageSeconds: 0,
    controlSeconds: calibration.controlMs / 1000,
    controlSecondsPerRank: calibration.controlMsPerRank / 1000,
  };
}

async function measureSteps(cpSize: number): Promise<MeasuredStep> {
  const cluster = await BenchCluster.start(cpSize, ['--no-restart']);
  try {
    const owners = await Owners.connect(cluster.address, cpSize, 0);
    try {
      const empty = owners.shards({ rows: cpSize, heads: cpSize, headSize: 1, dtype: 'f32' });
      const { rows, qHeads: heads, headSize, dtype } = MEASURED;
      const shards = owners.shards({ rows, heads, headSize, dtype });
      const timed = async (count: number, act: () => Promise<unknown>): Promise<number[]> => {
        await act();
        const ms: number[] = [];
        for (let window = 0; window < count; window++) {
          const began = performance.now();
          await act();
          ms.push(performance.now() - began);
        }
        return ms;
      };
      const stepMs = await timed(WINDOWS, () => owners.step(shards));
      const emptyMs = median(await timed(EMPTY_STEPS, () => owners.forward(empty)));
      return { cpSize, emptyMs, stepMs };
    } finally {
      await owners.close();
    }
  } finally {
    await cluster.stop();
  }
}

/** GFLOP of one worker per second that it has a core, forward and backward together. */
async function measureDevice(workers: number): Promise<number> {
  const { rows, qHeads: heads, headSize, dtype } = MEASURED;
  const alone = new OneProcess({ rows, heads, headSize, dtype }, workers);
  await alone.step();
  const seconds: number[] = [];
  for (let window = 0; window < WINDOWS; window++) {
    const before = process.cpuUsage();
    await alone.step();
    const { user, system } = process.cpuUsage(before);
    seconds.push((user + system) / 1e6);
  }
  // OneProcess is causal: 4 d per visible pair in forward, 10 d in backward.
  const flops = 14 * headSize * heads * ((rows * (rows + 1)) / 2);
  return flops / median(seconds) / 1e9;
}

/** As the cluster's processes are linked: shared memory, rows that begin elsewhere. */
async function measureExchange(): Promise<number> {
  const { members, mib, repeats } = EXCHANGE;
  const exchange = await AllToAll.start(members, mib, 'shm-staged');
  try {
    await exchange.measure(repeats);
    const { cpuSeconds } = await exchange.measure(repeats);
    return cpuSeconds / ((repeats * movedBytes(members, mib)) / 1e9);
  } finally {
    await exchange.stop();
  }
}
