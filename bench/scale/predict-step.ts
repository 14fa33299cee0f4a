import { type Machine } from './machine.js';
import { passWork } from './pass-work.js';
import { simulatePass } from './simulate-pass.js';
import { planOf, type Way, type Workload } from './workload.js';

/** A forward and its backward, by the model. */
export interface PredictedStep {
  readonly ms: number;
  /** Of it, agreement and commit of both passes. */
  readonly controlMs: number;
  /** Of the rank that has most: payload in and out, self-slices included. */
  readonly bytesPerRank: number;
  /** Arithmetic of the rank that has most over the mean. */
  readonly balance: number;
}

/** The rows lie with as many owners as ranks, unless it is said how many there are. */
export function predictStep(
  workload: Workload,
  cpSize: number,
  way: Way,
  machine: Machine,
  owners = cpSize,
): PredictedStep {
  const plan = planOf(workload, cpSize, way, owners);
  const passes = (['forward', 'backward'] as const).map((pass) =>
    simulatePass(passWork(plan, pass), machine),
  );
  const perRank = (list: 'bytesPerRank' | 'flopsPerRank'): number[] =>
    Array.from({ length: cpSize }, (_, rank) => passes.reduce((sum, pass) => sum + pass[list][rank]!, 0));
  const flops = perRank('flopsPerRank');
  const total = flops.reduce((sum, value) => sum + value, 0);
  const sumOf = (what: 'seconds' | 'controlSeconds'): number =>
    passes.reduce((sum, pass) => sum + pass[what], 0);
  return {
    ms: 1000 * sumOf('seconds'),
    controlMs: 1000 * sumOf('controlSeconds'),
    bytesPerRank: Math.max(...perRank('bytesPerRank')),
    balance: Math.max(...flops) / (total / cpSize),
  };
}
