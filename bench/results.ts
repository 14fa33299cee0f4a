import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { enough, type Comparison } from './windows.js';

/** One line of `bench/results/*.json`. */
export interface Result {
  /** Its name in the list of targets. */
  readonly case: string;
  readonly what: string;
  readonly unit: string;
  readonly value: number;
  /** The same quantity of what it is compared with; null when there is none. */
  readonly peer: number | null;
  /** Value over peer; null when the target is the value itself. */
  readonly ratio: number | null;
  /** Least and most over the windows, of the ratio or else of the value. */
  readonly spread: readonly [number, number];
  readonly windows: number;
  /** What it is held to; null for what is only said. */
  readonly must: number | null;
  readonly ambitious: number | null;
  readonly lowerIsBetter: boolean;
  readonly commit: string;
  readonly machine: string;
  /** Load average when the case ended: above the number of its own processes, other work ran beside. */
  readonly load: number;
  /** Of kernels: share of what the FMA units of this machine were measured to do. */
  readonly peakShare?: number;
  /** Of throughput: CPU seconds of all processes per gigabyte that changes process, and the peer's. */
  readonly cpuPerGB?: { readonly value: number; readonly peer: number };
  /** Of predictions: the rank that has most, and beside it the peer's. */
  readonly scale?: ScaleFigures;
}

export interface ScaleFigures {
  readonly cpSize: number;
  readonly bytesPerRank: number;
  readonly peerBytesPerRank: number;
  /** Largest work of a rank over the mean. */
  readonly balance: number;
  readonly peerBalance: number;
  /** Of the value, agreement and commit; and the rest of it, exchange and arithmetic. */
  readonly controlMs: number;
  readonly workMs: number;
  readonly peerWorkMs: number;
}

/** What a case is held to. */
export interface Target {
  readonly case: string;
  readonly what: string;
  readonly unit: string;
  readonly must: number | null;
  readonly ambitious: number | null;
  readonly lowerIsBetter: boolean;
}

const ROOT = new URL('../../', import.meta.url);

/** A case whose target is a ratio to a peer. */
export function ratioResult(
  target: Target,
  { value, peer, ratio, spread, windows }: Comparison,
  { peakShare, cpuPerGB }: Pick<Result, 'peakShare' | 'cpuPerGB'> = {},
): Result {
  return {
    ...target,
    value: round(value),
    peer: round(peer),
    ratio: round(ratio),
    spread: spread.map(round) as [number, number],
    windows,
    ...place(),
    ...(peakShare === undefined ? {} : { peakShare: round(peakShare) }),
    ...(cpuPerGB === undefined
      ? {}
      : { cpuPerGB: { value: round(cpuPerGB.value), peer: round(cpuPerGB.peer) } }),
  };
}

/** A case whose target is a quantity and no ratio: the median of its windows. A peer's may stand beside it. */
export function quantityResult(
  target: Target,
  values: readonly number[],
  peer: number | null = null,
): Result {
  const sorted = [...enough(values)].sort((a, b) => a - b);
  const spread = [round(sorted[0]!), round(sorted.at(-1)!)] as const;
  const value = round(sorted[Math.floor(sorted.length / 2)]!);
  return {
    ...target,
    value,
    peer: peer === null ? null : round(peer),
    ratio: null,
    spread,
    windows: values.length,
    ...place(),
  };
}

/** Of something that was not timed but computed: one value, beside a peer's or none. */
export function statedResult(
  target: Target,
  value: number,
  peer: number | null,
  scale?: ScaleFigures,
): Result {
  const ratio = peer === null ? null : round(value / peer);
  return {
    ...target,
    value: round(value),
    peer: peer === null ? null : round(peer),
    ratio,
    spread: [ratio ?? round(value), ratio ?? round(value)],
    windows: 1,
    ...place(),
    ...(scale === undefined ? {} : { scale }),
  };
}

export function meets({ value, ratio, lowerIsBetter }: Result, limit: number): boolean {
  const measured = ratio ?? value;
  return lowerIsBetter ? measured <= limit : measured >= limit;
}

export function printResult(result: Result): void {
  const { value, unit, peer, ratio, spread, must, windows, peakShare } = result;
  const against = peer === null ? '' : ` against ${peer} ${unit}${ratio === null ? '' : `, ratio ${ratio}`}`;
  const share = peakShare === undefined ? '' : `, ${Math.round(100 * peakShare)} % of peak`;
  const verdict = must === null ? '' : `; must ${must}: ${meets(result, must) ? 'met' : 'NOT met'}`;
  console.log(
    `[${result.case}] ${result.what}: ${value} ${unit}${share}${against} (${spread[0]} to ${spread[1]} in ${windows} windows)${verdict}`,
  );
}

/** Replaces the cases measured now in `bench/results/<name>.json`, and all whose names begin with `group`; others stay. */
export function writeResults(name: string, results: readonly Result[], group: string | null = null): void {
  const path = fileURLToPath(new URL(`bench/results/${name}.json`, ROOT));
  const measured = new Set(results.map((result) => result.case));
  const isReplaced = (result: Result): boolean =>
    measured.has(result.case) || (group !== null && result.case.startsWith(group));
  const kept = readResults(name).filter((result) => !isReplaced(result));
  const order = (result: Result): string => result.case;
  const all = [...kept, ...results].sort((a, b) => order(a).localeCompare(order(b), 'en', { numeric: true }));
  writeFileSync(path, `${JSON.stringify(all, null, 2)}\n`);
}

export function readResults(name: string): Result[] {
  try {
    return JSON.parse(readFileSync(new URL(`bench/results/${name}.json`, ROOT), 'utf8')) as Result[];
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

function place(): Pick<Result, 'commit' | 'machine' | 'load'> {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: fileURLToPath(ROOT), encoding: 'utf8' }).trim();
  // Not what benches write: the second case of a run would find the first one's.
  const others = ['--', ':/', ':(top,exclude)bench/results', ':(top,exclude)docs/benchmarks.md'];
  const changed =
    git('status', '--porcelain', '--untracked-files=no', ...others) === '' ? '' : ' with changes';
  const [cpu] = cpus();
  const memoryGiB = Math.round(totalmem() / 2 ** 30);
  return {
    commit: `${git('rev-parse', '--short', 'HEAD')}${changed}`,
    machine: `${cpus().length} × ${cpu?.model ?? 'unknown'}, ${memoryGiB} GiB`,
    load: round(loadavg()[0]!),
  };
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}
