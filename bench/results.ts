import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Comparison } from './windows.js';

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
  readonly must: number;
  readonly ambitious: number;
  readonly lowerIsBetter: boolean;
  readonly commit: string;
  readonly machine: string;
  /** Load average when the case ended: above the number of its own processes, other work ran beside. */
  readonly load: number;
}

/** What a case is held to. */
export interface Target {
  readonly case: string;
  readonly what: string;
  readonly unit: string;
  readonly must: number;
  readonly ambitious: number;
  readonly lowerIsBetter: boolean;
}

const ROOT = new URL('../../', import.meta.url);

/** A case whose target is a ratio to a peer. */
export function ratioResult(target: Target, { value, peer, ratio, spread, windows }: Comparison): Result {
  return {
    ...target,
    value: round(value),
    peer: round(peer),
    ratio: round(ratio),
    spread: spread.map(round) as [number, number],
    windows,
    ...place(),
  };
}

/** A case whose target is a quantity and no ratio: the median of its windows. A peer's may stand beside it. */
export function quantityResult(
  target: Target,
  values: readonly number[],
  peer: number | null = null,
): Result {
  const sorted = [...values].sort((a, b) => a - b);
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

export function meets({ value, ratio, lowerIsBetter }: Result, limit: number): boolean {
  const measured = ratio ?? value;
  return lowerIsBetter ? measured <= limit : measured >= limit;
}

export function printResult(result: Result): void {
  const { value, unit, peer, ratio, spread, must, windows } = result;
  const against = peer === null ? '' : ` against ${peer} ${unit}${ratio === null ? '' : `, ratio ${ratio}`}`;
  const verdict = meets(result, must) ? 'met' : 'NOT met';
  console.log(
    `[${result.case}] ${result.what}: ${value} ${unit}${against} (${spread[0]} to ${spread[1]} in ${windows} windows); must ${must}: ${verdict}`,
  );
}

/** Replaces the cases measured now in `bench/results/<name>.json`; others stay. */
export function writeResults(name: string, results: readonly Result[]): void {
  const path = fileURLToPath(new URL(`bench/results/${name}.json`, ROOT));
  const measured = new Set(results.map((result) => result.case));
  const kept = readResults(name).filter((result) => !measured.has(result.case));
  const order = (result: Result): string => result.case;
  const all = [...kept, ...results].sort((a, b) => order(a).localeCompare(order(b)));
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
  const changed = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes';
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
