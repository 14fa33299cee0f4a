import type { Mask, Strategy } from '@ulysses/plan';
import type { DType, Layout } from '@ulysses/tensor';
import type { Factors, Level, LevelPair } from '../support/pairwise.js';
import { evenShares } from './cases.js';

/** Everything the mask algebra can say, by what it is for. Segments mean one sample per segment, so a batch of one. */
export const MASKS = [
  'full',
  'causal',
  'windowLeft',
  'windowBoth',
  'lookAhead',
  'segments',
  'segmentsCausal',
  'segmentsWindow',
  'rightPadding',
  'leftPadding',
  'paddingCausal',
  'paddingWindow',
] as const;
type MaskName = (typeof MASKS)[number];

type ExtentsName = keyof typeof EXTENTS;
const EXTENTS = {
  equal: { rows: 101, keys: 101 },
  'more keys': { rows: 77, keys: 131 },
  'more queries': { rows: 130, keys: 79 },
} as const;

type ScaleName = keyof typeof SCALES;
/**
 * The default is 1 / sqrt(d). Far above it, at 1, softmax is so peaked that dp - δ cancels, and what is left of it is the
 * rounding of `out` to 16 bits, from which δ is computed (as FlashAttention does): only float32 goes with that scale.
 */
const SCALES = { default: null, small: Math.fround(0.05), large: Math.fround(0.2), one: 1 } as const;

/** One step through a cluster: how tensors travel, what rows see, who computes. */
export interface FormCase {
  readonly cpSize: number;
  readonly dtype: DType;
  readonly layout: Layout;
  readonly maskName: MaskName;
  readonly mask: Mask;
  readonly qHeads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly extents: ExtentsName;
  readonly rows: number;
  readonly keys: number;
  readonly batch: number;
  readonly scaleName: ScaleName;
  readonly scale: number | null;
  readonly splits: readonly number[];
  readonly kvSplits: readonly number[];
  readonly strategy: Strategy;
}

type Row = readonly [
  cpSize: number,
  dtype: DType,
  layout: Layout,
  mask: MaskName,
  qHeads: number,
  kvHeads: number,
  headSize: number,
  extents: ExtentsName,
  scale: ScaleName,
  owners: 'one' | 'cpSize' | 'another',
  strategy: Strategy,
];

/** Covers every pair of levels of `FORM_FACTORS` (form-cases.test.ts). */
const ROWS: readonly Row[] = [
  [2, 'f32', 'bshd', 'full', 8, 2, 64, 'more queries', 'small', 'one', 'heads'],
  [2, 'f32', 'thd', 'causal', 28, 4, 80, 'more keys', 'one', 'cpSize', 'heads'],
  [2, 'f16', 'bshd', 'windowLeft', 12, 6, 80, 'more queries', 'large', 'cpSize', 'heads'],
  [2, 'bf16', 'sbhd', 'windowBoth', 3, 1, 40, 'more keys', 'large', 'cpSize', 'balanced'],
  [2, 'f16', 'bshd', 'windowBoth', 8, 2, 80, 'more keys', 'small', 'one', 'balanced'],
  [2, 'bf16', 'bshd', 'lookAhead', 8, 2, 40, 'more keys', 'small', 'another', 'balanced'],
  [2, 'f32', 'bshd', 'lookAhead', 7, 7, 80, 'more keys', 'one', 'another', 'balanced'],
  [2, 'f16', 'bshd', 'segments', 7, 7, 40, 'more keys', 'small', 'another', 'balanced'],
  [2, 'f32', 'thd', 'segments', 8, 2, 64, 'equal', 'default', 'another', 'balanced'],
  [2, 'bf16', 'sbhd', 'segmentsCausal', 3, 1, 40, 'more keys', 'small', 'one', 'heads'],
  [2, 'bf16', 'thd', 'segmentsWindow', 28, 4, 40, 'more queries', 'large', 'one', 'heads'],
  [2, 'f16', 'thd', 'rightPadding', 8, 2, 40, 'equal', 'default', 'cpSize', 'heads'],
  [2, 'f32', 'sbhd', 'rightPadding', 12, 6, 64, 'more queries', 'one', 'one', 'balanced'],
  [2, 'f32', 'thd', 'leftPadding', 12, 6, 64, 'more queries', 'large', 'another', 'balanced'],
  [2, 'f32', 'thd', 'leftPadding', 7, 7, 80, 'more queries', 'small', 'cpSize', 'heads'],
  [2, 'f16', 'bshd', 'paddingCausal', 3, 1, 64, 'more keys', 'small', 'cpSize', 'balanced'],
  [2, 'bf16', 'thd', 'paddingCausal', 8, 2, 64, 'equal', 'default', 'another', 'balanced'],
  [2, 'f16', 'thd', 'paddingWindow', 28, 4, 40, 'more keys', 'large', 'cpSize', 'heads'],
  [3, 'bf16', 'thd', 'full', 28, 4, 80, 'equal', 'default', 'another', 'balanced'],
  [3, 'f16', 'sbhd', 'causal', 3, 1, 64, 'more keys', 'small', 'another', 'heads'],
  [3, 'f32', 'sbhd', 'windowLeft', 8, 2, 40, 'more keys', 'one', 'one', 'balanced'],
  [3, 'f16', 'bshd', 'windowBoth', 3, 1, 40, 'more queries', 'default', 'cpSize', 'heads'],
  [3, 'bf16', 'thd', 'windowBoth', 12, 6, 80, 'more keys', 'default', 'one', 'heads'],
  [3, 'f32', 'sbhd', 'lookAhead', 28, 4, 64, 'more queries', 'large', 'one', 'heads'],
  [3, 'f32', 'sbhd', 'segments', 28, 4, 64, 'more queries', 'large', 'another', 'balanced'],
  [3, 'f32', 'sbhd', 'segmentsCausal', 12, 6, 64, 'more keys', 'one', 'one', 'heads'],
  [3, 'f16', 'sbhd', 'segmentsCausal', 28, 4, 64, 'equal', 'default', 'another', 'heads'],
  [3, 'f32', 'bshd', 'segmentsWindow', 12, 6, 40, 'equal', 'one', 'cpSize', 'heads'],
  [3, 'f16', 'thd', 'rightPadding', 7, 7, 40, 'equal', 'large', 'another', 'balanced'],
  [3, 'f16', 'bshd', 'leftPadding', 12, 6, 80, 'more keys', 'small', 'one', 'heads'],
  [3, 'f32', 'thd', 'paddingCausal', 7, 7, 64, 'more queries', 'one', 'one', 'heads'],
  [3, 'bf16', 'bshd', 'paddingWindow', 12, 6, 40, 'more keys', 'default', 'another', 'heads'],
  [4, 'f32', 'thd', 'full', 12, 6, 40, 'more keys', 'large', 'cpSize', 'balanced'],
  [4, 'f32', 'bshd', 'full', 7, 7, 40, 'equal', 'one', 'another', 'balanced'],
  [4, 'bf16', 'bshd', 'causal', 12, 6, 40, 'more queries', 'default', 'one', 'balanced'],
  [4, 'bf16', 'thd', 'windowLeft', 28, 4, 80, 'equal', 'default', 'another', 'balanced'],
  [4, 'f32', 'thd', 'windowBoth', 7, 7, 64, 'equal', 'one', 'another', 'balanced'],
  [4, 'f32', 'sbhd', 'lookAhead', 3, 1, 80, 'more queries', 'large', 'one', 'heads'],
  [4, 'bf16', 'sbhd', 'segments', 12, 6, 40, 'equal', 'default', 'one', 'balanced'],
  [4, 'f16', 'bshd', 'segmentsCausal', 7, 7, 64, 'equal', 'large', 'cpSize', 'balanced'],
  [4, 'f32', 'sbhd', 'segmentsWindow', 7, 7, 80, 'more keys', 'default', 'another', 'heads'],
  [4, 'bf16', 'bshd', 'rightPadding', 28, 4, 80, 'more keys', 'small', 'cpSize', 'heads'],
  [4, 'f16', 'sbhd', 'leftPadding', 3, 1, 80, 'more keys', 'small', 'cpSize', 'balanced'],
  [4, 'f32', 'bshd', 'leftPadding', 8, 2, 80, 'equal', 'one', 'another', 'balanced'],
  [4, 'bf16', 'bshd', 'paddingCausal', 12, 6, 80, 'more keys', 'default', 'one', 'heads'],
  [4, 'f32', 'bshd', 'paddingWindow', 3, 1, 80, 'equal', 'one', 'another', 'balanced'],
  [4, 'bf16', 'sbhd', 'paddingWindow', 8, 2, 64, 'more queries', 'small', 'one', 'heads'],
  [8, 'f16', 'sbhd', 'full', 3, 1, 40, 'equal', 'large', 'cpSize', 'balanced'],
  [8, 'bf16', 'sbhd', 'causal', 8, 2, 64, 'equal', 'large', 'one', 'balanced'],
  [8, 'bf16', 'thd', 'causal', 7, 7, 64, 'more queries', 'small', 'cpSize', 'heads'],
  [8, 'bf16', 'thd', 'windowLeft', 7, 7, 64, 'more keys', 'small', 'another', 'balanced'],
  [8, 'f32', 'sbhd', 'windowLeft', 3, 1, 80, 'more keys', 'large', 'cpSize', 'heads'],
  [8, 'f32', 'thd', 'windowBoth', 28, 4, 80, 'equal', 'small', 'one', 'heads'],
  [8, 'f16', 'thd', 'lookAhead', 12, 6, 64, 'equal', 'default', 'cpSize', 'balanced'],
  [8, 'f32', 'thd', 'segments', 3, 1, 80, 'more queries', 'one', 'cpSize', 'heads'],
  [8, 'f32', 'thd', 'segmentsCausal', 8, 2, 80, 'more queries', 'large', 'another', 'heads'],
  [8, 'f16', 'bshd', 'segmentsWindow', 3, 1, 64, 'equal', 'small', 'one', 'balanced'],
  [8, 'bf16', 'thd', 'segmentsWindow', 8, 2, 80, 'more keys', 'default', 'cpSize', 'balanced'],
  [8, 'f16', 'thd', 'rightPadding', 3, 1, 64, 'more keys', 'small', 'one', 'heads'],
  [8, 'bf16', 'thd', 'leftPadding', 28, 4, 40, 'equal', 'default', 'cpSize', 'heads'],
  [8, 'f16', 'sbhd', 'paddingCausal', 28, 4, 40, 'equal', 'large', 'another', 'balanced'],
  [8, 'f16', 'sbhd', 'paddingWindow', 7, 7, 40, 'more queries', 'large', 'another', 'heads'],
];

function formCase(row: Row): FormCase {
  const [cpSize, dtype, layout, maskName, qHeads, kvHeads, headSize, extents, scaleName, owners, strategy] =
    row;
  const { rows, keys } = EXTENTS[extents];
  const batch = layout === 'thd' || maskName.startsWith('segments') ? 1 : 2;
  const ownerCount = { one: 1, cpSize, another: cpSize + 1 }[owners];
  return {
    cpSize,
    dtype,
    layout,
    maskName,
    mask: maskOf(maskName, rows, keys, batch),
    qHeads,
    kvHeads,
    headSize,
    extents,
    rows,
    keys,
    batch,
    scaleName,
    scale: SCALES[scaleName],
    splits: evenShares(rows, ownerCount),
    // Owners hold other shares of the keys than of the queries.
    kvSplits: rows === keys ? evenShares(rows, ownerCount) : evenShares(keys, ownerCount).reverse(),
    strategy,
  };
}

const BANDS: Record<MaskName, Pick<Mask, 'left' | 'right'>> = {
  full: { left: null, right: null },
  causal: { left: null, right: 0 },
  windowLeft: { left: 17, right: 0 },
  windowBoth: { left: 9, right: 4 },
  lookAhead: { left: null, right: 6 },
  segments: { left: null, right: null },
  segmentsCausal: { left: null, right: 0 },
  segmentsWindow: { left: 5, right: 2 },
  rightPadding: { left: null, right: null },
  leftPadding: { left: null, right: null },
  paddingCausal: { left: null, right: 0 },
  paddingWindow: { left: 11, right: 3 },
};

function maskOf(name: MaskName, rows: number, keys: number, batch: number): Mask {
  const band = BANDS[name];
  if (name.startsWith('segments')) {
    // An empty segment, one of a single row, and when extents differ other lengths for queries and keys.
    const cuSeqlensQ = [0, 29, 29, 30, 58, rows];
    const cuSeqlensKv = rows === keys ? cuSeqlensQ : [0, 19, 24, 24, 61, keys];
    return { ...band, segments: { cuSeqlensQ, cuSeqlensKv }, validRanges: null };
  }
  if (!/padding/i.test(name)) return { ...band, segments: null, validRanges: null };
  const right = (length: number) => ({ begin: 0, end: Math.ceil(0.7 * length) });
  const left = (length: number) => ({ begin: Math.floor(0.2 * length), end: length });
  const kinds = {
    rightPadding: [right, right],
    leftPadding: [left, left],
    paddingCausal: [left, right],
    paddingWindow: [right, left],
  };
  const ranges = kinds[name as keyof typeof kinds].slice(0, batch);
  return {
    ...band,
    segments: null,
    validRanges: { q: ranges.map((range) => range(rows)), kv: ranges.map((range) => range(keys)) },
  };
}

export const FORM_CASES: readonly FormCase[] = ROWS.map(formCase);

const levels = <T extends string | number>(
  values: readonly T[],
  valueOf: (testCase: FormCase) => T,
): Level<FormCase>[] =>
  values.map((value) => ({ name: String(value), has: (testCase) => valueOf(testCase) === value }));

export const FORM_CP_SIZES = [2, 3, 4, 8] as const;

export const FORM_FACTORS: Factors<FormCase> = {
  cpSize: levels(FORM_CP_SIZES, (c) => c.cpSize),
  dtype: levels(['f32', 'bf16', 'f16'], (c) => c.dtype),
  layout: levels(['sbhd', 'bshd', 'thd'], (c) => c.layout),
  mask: levels(MASKS, (c) => c.maskName),
  heads: levels(['12/6', '28/4', '7/7', '3/1', '8/2'], (c) => `${c.qHeads}/${c.kvHeads}`),
  headSize: levels([40, 64, 80], (c) => c.headSize),
  extents: levels(['equal', 'more keys', 'more queries'], (c) => c.extents),
  scale: levels(['default', 'small', 'large', 'one'], (c) => c.scaleName),
  owners: [
    { name: 'one', has: (c) => c.splits.length === 1 },
    { name: 'cpSize', has: (c) => c.splits.length === c.cpSize },
    { name: 'another number', has: (c) => c.splits.length > c.cpSize },
  ],
  strategy: levels(['heads', 'balanced'], (c) => c.strategy),
};

/** Too peaked for 16 bits: see SCALES. */
export const isImpossibleForm = ([a, b]: LevelPair): boolean =>
  a !== 'dtype f32' && a.startsWith('dtype') && b === 'scale one';

export const describeForm = (c: FormCase): string =>
  `P=${c.cpSize} ${c.dtype} ${c.layout} ${c.maskName} h=${c.qHeads}/${c.kvHeads} d=${c.headSize} s=${c.rows}/${c.keys} ` +
  `scale ${c.scaleName} ${c.splits.length} owners ${c.strategy}`;
