import type { Line } from './fit-line.js';

/**
 * What the model knows of the machines that a step runs on. All hosts are alike; rank r is on host floor(r / ranksPerHost), and
 * sequence owner m beside rank m mod cp_size, or all owners on one host more.
 */
export interface Machine {
  readonly ranksPerHost: number;
  readonly owners: 'beside ranks' | 'apart';
  /** Each computes one unit, or copies one slice that stays on its host, at a time. */
  readonly workersPerHost: number;
  /** FLOP/s of one worker. */
  readonly workerFlopsPerSecond: number;
  /** Seconds of a worker per byte that stays on its host, both ends together. */
  readonly localSecondsPerByte: number;
  /** Bytes/s of a host's link, each way. */
  readonly linkBytesPerSecond: number;
  /** Seconds from a byte's leaving to its arrival, one way. */
  readonly latencySeconds: number;
  /** Seconds of the sending link per message, whatever its size. */
  readonly messageSeconds: number;
  readonly control: ControlCost;
}

/** CPU seconds of one pass that has nothing to carry and nothing to compute, of each process that takes part in it. */
export interface ControlCost {
  /** Over ranks and owners together: it speaks with all of them. */
  readonly coordinator: Line;
  /** Of one rank, over owners: it hears each. */
  readonly rank: Line;
  /** Of one owner, over ranks. */
  readonly owner: Line;
}

/** One-way messages that follow each other in a pass: plan, prepare, vote, planned; and finished, committed. */
const CONTROL_HOPS = 6;

/**
 * What a pass takes beside its payload and its arithmetic. Coordinator, rank and owner wait for each other, so their CPU times add up;
 * and where a host has less cores than processes, all that these compute has to go through its cores.
 */
export function controlSeconds(machine: Machine, cpSize: number, owners: number): number {
  const { control, ranksPerHost, workersPerHost, latencySeconds } = machine;
  const coordinator = at(control.coordinator, cpSize + owners);
  const [rank, owner] = [at(control.rank, owners), at(control.owner, cpSize)];
  const ranksHere = Math.min(cpSize, ranksPerHost);
  const ownersHere = Math.ceil((owners * ranksHere) / cpSize);
  const inTurn = coordinator + rank + owner;
  const onOneHost = (coordinator + ranksHere * rank + ownersHere * owner) / workersPerHost;
  return Math.max(inTurn, onOneHost) + CONTROL_HOPS * latencySeconds;
}

function at({ base, slope }: Line, x: number): number {
  return base + slope * x;
}
