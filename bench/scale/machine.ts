/**
 * What the model knows of the machines that a step runs on. All hosts are alike; rank r is on host floor(r / ranksPerHost), and
 * sequence owner m beside rank m mod cp_size.
 */
export interface Machine {
  readonly ranksPerHost: number;
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
  /** Agreement and commit of one pass: seconds, and seconds per rank. Network latency comes on top. */
  readonly controlSeconds: number;
  readonly controlSecondsPerRank: number;
}

/** One-way messages that follow each other in a pass: plan, prepare, vote, planned; and finished, committed. */
const CONTROL_HOPS = 6;

/** What a pass takes beside its payload and its arithmetic. */
export function controlSeconds(machine: Machine, cpSize: number): number {
  const { controlSeconds, controlSecondsPerRank, latencySeconds } = machine;
  return controlSeconds + cpSize * controlSecondsPerRank + CONTROL_HOPS * latencySeconds;
}
