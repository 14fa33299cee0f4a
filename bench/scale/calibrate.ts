import { availableParallelism } from 'node:os';
import { AllToAll } from '../all-to-all.js';
import { movedBytes } from '../all-to-all-slices.js';
import { BenchCluster } from '../cluster.js';
import { OneProcess } from '../one-process.js';
import { emptyShape, Owners, type Shard } from '../owners.js';
import { median, repeated } from '../windows.js';
import { fitCost, type Line } from './fit-line.js';
import type { ControlCost, Machine } from './machine.js';
import type { Workload } from './workload.js';

/** The step that is measured, and modelled beside it. */
export const MEASURED: Workload = { rows: 8190, qHeads: 8, kvHeads: 8, headSize: 64, dtype: 'f32' };
export const MEASURED_RANKS = [2, 4, 8, 16] as const;
const WINDOWS = 5;
/** Empty steps go on for so long in each window: CPU time is counted in hundredths of a second. */
const EMPTY_WINDOW_MS = 4000;
const EXCHANGE = { members: 4, mib: 16, repeats: 10 } as const;

/** What the model is given of this machine. None of it is taken from the steps that the model is held against. */
export interface Calibration {
  readonly workers: number;
  /** Per second of CPU time, so that other work beside matters less. */
  readonly gflopsPerWorker: number;
  /** CPU seconds per GB that moves from one process to another. */
  readonly localSecondsPerGb: number;
  /** CPU time of one pass that has nothing to carry and nothing to compute, of each process that takes part. */
  readonly coordinatorMs: number;
  readonly coordinatorMsPerMember: number;
  readonly rankMs: number;
  readonly rankMsPerOwner: number;
  readonly ownerMs: number;
  readonly ownerMsPerRank: number;
}

/** One number of ranks of this machine, with as many owners. */
export interface MeasuredStep {
  readonly cpSize: number;
  /** Of every window, of a whole step and of an empty forward. */
  readonly stepMs: readonly number[];
  readonly emptyMs: readonly number[];
  /** CPU milliseconds of an empty forward, of each process. */
  readonly cpuMs: Readonly<Record<keyof ControlCost, number>>;
}

export async function calibrate(): Promise<{ calibration: Calibration; steps: MeasuredStep[] }> {
  const workers = availableParallelism();
  const steps: MeasuredStep[] = [];
  for (const cpSize of MEASURED_RANKS) steps.push(await measureSteps(cpSize));
  const line = (process: keyof ControlCost, of: (cpSize: number) => number): Line =>
    fitCost(steps.map(({ cpSize, cpuMs }) => ({ x: of(cpSize), y: cpuMs[process] })));
  const coordinator = line('coordinator', (cpSize) => 2 * cpSize);
  const [rank, owner] = [line('rank', (cpSize) => cpSize), line('owner', (cpSize) => cpSize)];
  const calibration = {
    workers,
    gflopsPerWorker: await measureDevice(workers),
    localSecondsPerGb: await measureExchange(),
    coordinatorMs: coordinator.base,
    coordinatorMsPerMember: coordinator.slope,
    rankMs: rank.base,
    rankMsPerOwner: rank.slope,
    ownerMs: owner.base,
    ownerMsPerRank: owner.slope,
  };
  return { calibration, steps };
}

/** All processes on this one host: its cores compute and copy, and no link is crossed. */
export function thisMachine(calibration: Calibration): Machine {
  const { workers, gflopsPerWorker, localSecondsPerGb } = calibration;
  return {
    ranksPerHost: Infinity,
    owners: 'beside ranks',
    workersPerHost: workers,
    workerFlopsPerSecond: gflopsPerWorker * 1e9,
    localSecondsPerByte: localSecondsPerGb / 1e9,
    linkBytesPerSecond: Infinity,
    latencySeconds: 0,
    messageSeconds: 0,
    control: controlCost(calibration),
  };
}

export function controlCost(calibration: Calibration): ControlCost {
  const { coordinatorMs, coordinatorMsPerMember, rankMs, rankMsPerOwner, ownerMs, ownerMsPerRank } =
    calibration;
  const line = (baseMs: number, slopeMs: number): Line => ({ base: baseMs / 1000, slope: slopeMs / 1000 });
  return {
    coordinator: line(coordinatorMs, coordinatorMsPerMember),
    rank: line(rankMs, rankMsPerOwner),
    owner: line(ownerMs, ownerMsPerRank),
  };
}

async function measureSteps(cpSize: number): Promise<MeasuredStep> {
  const cluster = await BenchCluster.start(cpSize, ['--no-restart']);
  try {
    const owners = await Owners.connect(cluster.address, cpSize, 0);
    try {
      const { rows, qHeads: heads, headSize, dtype } = MEASURED;
      const shards = owners.shards({ rows, heads, headSize, dtype });
      const empty = owners.shards(emptyShape(cpSize));
      await owners.warmUp(empty);
      const stepMs = await repeated(WINDOWS, () => owners.step(shards));
      const windows = await repeated(WINDOWS, () => measureEmpty(cluster, owners, empty, cpSize));
      const of = (quantity: keyof (typeof windows)[0]): number[] => windows.map((window) => window[quantity]);
      const [coordinator, rank, owner] = [of('coordinator'), of('rank'), of('owner')].map(median);
      const cpuMs = { coordinator: coordinator!, rank: rank!, owner: owner! };
      return { cpSize, stepMs, emptyMs: of('ms'), cpuMs };
    } finally {
      await owners.close();
    }
  } finally {
    await cluster.stop();
  }
}

/** One window of empty forwards: milliseconds of one, and the CPU milliseconds that each process spent on it. */
async function measureEmpty(
  cluster: BenchCluster,
  owners: Owners,
  empty: readonly Shard[],
  cpSize: number,
): Promise<Record<keyof ControlCost | 'ms', number>> {
  const [began, clusterBefore, before] = [performance.now(), cluster.cpuSeconds(), process.cpuUsage()];
  let steps = 0;
  for (; performance.now() - began < EMPTY_WINDOW_MS; steps++) await owners.forward(empty);
  const ms = performance.now() - began;
  const { coordinator, ranks } = cluster.cpuSeconds();
  const { user, system } = process.cpuUsage(before);
  return {
    ms: ms / steps,
    coordinator: (1000 * (coordinator - clusterBefore.coordinator)) / steps,
    rank: (1000 * (ranks - clusterBefore.ranks)) / steps / cpSize,
    // They are all in this process.
    owner: (user + system) / 1000 / steps / cpSize,
  };
}

/** GFLOP of one worker per second that it has a core, forward and backward together. */
async function measureDevice(workers: number): Promise<number> {
  const { rows, qHeads: heads, headSize, dtype } = MEASURED;
  const alone = new OneProcess({ rows, heads, headSize, dtype }, workers);
  const seconds = await repeated(WINDOWS, async () => {
    const before = process.cpuUsage();
    await alone.step();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  });
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
