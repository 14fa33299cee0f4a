import type { Strategy } from '@ulysses/plan';
import type { Factors, Level, LevelPair } from '../support/pairwise.js';

/** One step through a cluster of `cpSize` ranks. Queries and keys have the same length. */
export interface ParityCase {
  readonly cpSize: number;
  /** s. */
  readonly rows: number;
  readonly qHeads: number;
  readonly kvHeads: number;
  readonly batch: number;
  readonly headSize: number;
  readonly mask: 'full' | 'causal';
  /** Rows of every sequence owner. */
  readonly splits: readonly number[];
  readonly strategy: Strategy;
}

type Row = readonly [
  cpSize: number,
  rows: number,
  qHeads: number,
  kvHeads: number,
  batch: number,
  headSize: number,
  mask: ParityCase['mask'],
  /** How many sequence owners share the rows evenly, or the rows of each. */
  owners: number | readonly number[],
  strategy: Strategy,
];

/** Covers every pair of levels of `FACTORS` (cases.test.ts), with the costly ones kept apart: about 20 s of reference. */
const PAIRWISE: readonly Row[] = [
  [1, 1, 8, 8, 3, 256, 'causal', 2, 'balanced'],
  [1, 1, 28, 4, 2, 80, 'causal', 1, 'heads'],
  [1, 2, 3, 1, 1, 8, 'causal', 2, 'balanced'],
  [1, 5, 1, 1, 1, 1, 'full', 1, 'balanced'],
  [1, 127, 7, 7, 3, 128, 'causal', 1, 'balanced'],
  [1, 1000, 3, 3, 2, 64, 'causal', 2, 'heads'],
  [2, 1, 1, 1, 3, 64, 'full', 3, 'heads'],
  [2, 1, 3, 3, 2, 80, 'full', 3, 'balanced'],
  [2, 1, 7, 7, 1, 1, 'causal', 1, 'heads'],
  [2, 2, 28, 1, 1, 256, 'full', 1, 'heads'],
  [2, 5, 3, 3, 1, 128, 'full', 2, 'heads'],
  [2, 127, 8, 4, 1, 80, 'full', 2, 'heads'],
  [2, 1000, 8, 4, 2, 8, 'full', 3, 'heads'],
  [3, 1, 3, 1, 3, 256, 'causal', 1, 'balanced'],
  [3, 2, 1, 1, 1, 128, 'causal', 1, 'balanced'],
  [3, 2, 7, 7, 2, 8, 'full', 3, 'balanced'],
  [3, 5, 8, 4, 3, 1, 'full', 3, 'heads'],
  [3, 127, 28, 7, 1, 64, 'full', 4, 'balanced'],
  [3, 1000, 3, 1, 1, 80, 'causal', 1, 'heads'],
  [4, 1, 1, 1, 1, 64, 'full', 1, 'balanced'],
  [4, 1, 7, 7, 1, 80, 'causal', 3, 'balanced'],
  [4, 2, 8, 1, 2, 128, 'full', 1, 'heads'],
  [4, 3, 28, 4, 3, 128, 'full', 4, 'balanced'],
  [4, 5, 28, 7, 3, 8, 'causal', 3, 'balanced'],
  [4, 127, 3, 1, 2, 1, 'full', 3, 'heads'],
  [4, 1000, 1, 1, 2, 256, 'full', 4, 'balanced'],
  [7, 1, 3, 1, 3, 8, 'causal', 7, 'balanced'],
  [7, 2, 1, 1, 1, 80, 'causal', 2, 'balanced'],
  [7, 5, 7, 7, 3, 256, 'causal', 2, 'heads'],
  [7, 5, 7, 1, 2, 64, 'full', 1, 'balanced'],
  [7, 6, 8, 4, 1, 256, 'full', 2, 'balanced'],
  [7, 127, 1, 1, 3, 128, 'causal', 1, 'balanced'],
  [7, 127, 1, 1, 1, 256, 'causal', 7, 'heads'],
  [7, 1000, 28, 1, 3, 1, 'causal', 1, 'heads'],
  [8, 1, 28, 28, 2, 128, 'full', 5, 'balanced'],
  [8, 2, 3, 1, 3, 1, 'causal', 5, 'heads'],
  [8, 2, 8, 4, 3, 64, 'causal', 8, 'balanced'],
  [8, 5, 7, 7, 3, 80, 'full', 5, 'balanced'],
  [8, 7, 1, 1, 1, 256, 'causal', 1, 'balanced'],
  [8, 127, 1, 1, 1, 8, 'causal', 1, 'heads'],
  [8, 1000, 7, 7, 1, 128, 'full', 8, 'balanced'],
];

/** At length, where sums are long and a rank's share is not a multiple of anything. */
const LONG: readonly Row[] = [
  [4, 8190, 1, 1, 1, 64, 'full', 1, 'balanced'],
  [3, 8190, 2, 1, 1, 64, 'causal', 3, 'balanced'],
  [8, 8190, 1, 1, 1, 64, 'causal', 5, 'balanced'],
];

/** What pairs do not force: shares as streaming producers cut them, and more ranks than there is to do. */
const EDGES: readonly Row[] = [
  // One owner on four ranks, and four owners on three, each also where owners hold no row.
  [4, 61, 5, 5, 1, 16, 'causal', 1, 'balanced'],
  [3, 61, 5, 5, 2, 16, 'causal', 4, 'balanced'],
  [3, 13, 4, 2, 1, 8, 'causal', [0, 9, 0, 4], 'balanced'],
  [4, 40, 4, 4, 1, 8, 'full', [0, 0, 40], 'heads'],
  [2, 33, 3, 1, 2, 24, 'causal', [1, 31, 1, 0], 'balanced'],
  // Fewer rows than ranks, and one head on eight of them: most ranks have nothing to do under `heads`.
  [8, 3, 1, 1, 1, 8, 'causal', 8, 'balanced'],
  [8, 3, 2, 1, 2, 8, 'full', 1, 'heads'],
  [8, 200, 1, 1, 1, 32, 'causal', 1, 'balanced'],
  [8, 200, 1, 1, 1, 32, 'causal', 3, 'heads'],
];

function parityCase(row: Row): ParityCase {
  const [cpSize, rows, qHeads, kvHeads, batch, headSize, mask, owners, strategy] = row;
  const splits = typeof owners === 'number' ? evenShares(rows, owners) : owners;
  return { cpSize, rows, qHeads, kvHeads, batch, headSize, mask, splits, strategy };
}

/** `rows` over `owners`, the remainder going to the first. */
export function evenShares(rows: number, owners: number): number[] {
  return Array.from(
    { length: owners },
    (_, owner) => Math.floor(rows / owners) + (owner < rows % owners ? 1 : 0),
  );
}

export const PARITY_CASES: readonly ParityCase[] = [...PAIRWISE, ...EDGES].map(parityCase);
export const LONG_CASES: readonly ParityCase[] = LONG.map(parityCase);

export const CP_SIZES = [1, 2, 3, 4, 7, 8] as const;

const levels = <T extends string | number>(
  values: readonly T[],
  valueOf: (testCase: ParityCase) => T,
): Level<ParityCase>[] =>
  values.map((value) => ({ name: String(value), has: (testCase) => valueOf(testCase) === value }));

export const FACTORS: Factors<ParityCase> = {
  cpSize: levels(CP_SIZES, (c) => c.cpSize),
  rows: [
    ...levels([1, 2, 5, 127, 1000], (c) => c.rows),
    { name: 'cpSize - 1', has: (c) => c.rows === c.cpSize - 1 },
  ],
  qHeads: levels([1, 3, 7, 8, 28], (c) => c.qHeads),
  kvHeads: [...levels([1, 4, 7], (c) => c.kvHeads), { name: 'all', has: (c) => c.kvHeads === c.qHeads }],
  batch: levels([1, 2, 3], (c) => c.batch),
  headSize: levels([1, 8, 64, 80, 128, 256], (c) => c.headSize),
  mask: levels(['full', 'causal'], (c) => c.mask),
  owners: [
    { name: 'one', has: (c) => c.splits.length === 1 },
    { name: 'cpSize', has: (c) => c.splits.length === c.cpSize },
    { name: 'another number', has: (c) => c.splits.length !== 1 && c.splits.length !== c.cpSize },
  ],
  strategy: levels(['heads', 'balanced'], (c) => c.strategy),
};

/** Pairs that no attention call can have: KV heads that do not divide the heads, a sequence of no rows. */
const IMPOSSIBLE: readonly LevelPair[] = [
  ['cpSize 1', 'rows cpSize - 1'],
  ...[1, 3, 8].map((heads): LevelPair => [`qHeads ${heads}`, 'kvHeads 7']),
  ...[1, 3, 7].map((heads): LevelPair => [`qHeads ${heads}`, 'kvHeads 4']),
];

export const isImpossible = ([a, b]: LevelPair): boolean => IMPOSSIBLE.some(([x, y]) => x === a && y === b);

export const describeCase = (c: ParityCase): string =>
  `P=${c.cpSize} s=${c.rows} h=${c.qHeads}/${c.kvHeads} b=${c.batch} d=${c.headSize} ${c.mask} ${c.strategy} rows ${
    c.splits.length === 1 ? 'of one owner' : c.splits.join('+')
  }`;
