import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Mask, Padding, StepSpec } from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Calculators } from './calculators.js';
import type { Alignment } from './kv-cache.js';
import { resolveSpec } from './resolve-spec.js';
import { SAMPLE_VIEW } from './sample-view.js';

const UNALIGNED: Alignment = { aligned: false, byPolicy: false, remedy: 'use another calculator' };
const CP_SIZE = 2;
const dynamic = await Calculators.load('dynamic');

interface Shards {
  readonly q: readonly number[];
  /** @default those of q */
  readonly kv?: readonly number[];
}

function resolved(
  { q, kv = q }: Shards,
  view: Partial<StepView> = {},
  calculators = dynamic,
  alignment = UNALIGNED,
): Promise<{ spec: StepSpec; padding: Padding }> {
  const owners = q.map((qRows, owner) => ({ ...SAMPLE_VIEW, ...view, qRows, kvRows: kv[owner]! }));
  return resolveSpec(owners, CP_SIZE, calculators, alignment);
}

const CAUSAL: Mask = { ...SAMPLE_VIEW.mask, validRanges: null };
const range = (end: number): { begin: number; end: number } => ({ begin: 0, end });

interface Case {
  readonly title: string;
  readonly shards: Shards;
  readonly view?: Partial<StepView>;
  readonly spec: Partial<StepSpec>;
  readonly padding: readonly [number, number];
}

const CASES: readonly Case[] = [
  {
    title: 'without a mask every row of every shard counts',
    shards: { q: [4, 0, 6] },
    spec: { qSplits: [4, 0, 6], kvSplits: [4, 0, 6], mask: CAUSAL },
    padding: [0, 0],
  },
  {
    title: "a mask tensor's extent below the rows leaves the tail out",
    shards: { q: [10] },
    view: { attentionMaskExtent: 7, batch: 2 },
    spec: { qSplits: [7], kvSplits: [7], mask: CAUSAL },
    padding: [6, 6],
  },
  {
    //       owner 0  owner 1  owner 2
    // rows  0 1 2 3  4 5 6 7  8 9
    // size  0 1 2 3  4
    title: 'the tail is cut off across owners, and one is left with nothing',
    shards: { q: [4, 4, 2] },
    view: { attentionMaskExtent: 5 },
    spec: { qSplits: [4, 1, 0], kvSplits: [4, 1, 0] },
    padding: [5, 5],
  },
  {
    title: 'lengths of a padded batch: the longest is gathered, the others see no keys beyond their own',
    shards: { q: [5, 5] },
    view: { batch: 3, attentionMaskLengths: [8, 3, 0] },
    spec: {
      qSplits: [5, 3],
      mask: {
        ...CAUSAL,
        validRanges: { q: [range(8), range(3), range(0)], kv: [range(8), range(3), range(0)] },
      },
    },
    padding: [19, 6],
  },
  {
    title: 'lengths that are all equal need no ranges',
    shards: { q: [5, 5] },
    view: { batch: 2, attentionMaskLengths: [8, 8] },
    spec: { qSplits: [5, 3], mask: CAUSAL },
    padding: [4, 4],
  },
  {
    title: 'lengths say which keys are seen when there are fewer queries than keys',
    shards: { q: [2, 1], kv: [5, 5] },
    view: { batch: 2, attentionMaskLengths: [3, 2] },
    spec: {
      qSplits: [2, 1],
      kvSplits: [3, 0],
      mask: { ...CAUSAL, validRanges: { q: [range(3), range(3)], kv: [range(3), range(2)] } },
    },
    padding: [15, 14],
  },
  {
    title: 'a mask of more keys than queries says nothing of the queries',
    shards: { q: [2, 1], kv: [5, 5] },
    view: {
      attentionMaskExtent: 10,
      mask: { ...CAUSAL, validRanges: { q: null, kv: [{ begin: 4, end: 9 }] } },
    },
    spec: {
      qSplits: [2, 1],
      kvSplits: [5, 5],
      mask: { ...CAUSAL, validRanges: { q: [range(3)], kv: [{ begin: 4, end: 9 }] } },
    },
    padding: [0, 0],
  },
  {
    title: 'a mask of fewer keys than queries leaves no query out',
    shards: { q: [8, 4], kv: [3, 3] },
    view: {
      attentionMaskExtent: 5,
      mask: { ...CAUSAL, validRanges: { q: null, kv: [range(4)] } },
    },
    spec: {
      qSplits: [8, 4],
      kvSplits: [3, 2],
      mask: { ...CAUSAL, validRanges: { q: [range(12)], kv: [range(4)] } },
    },
    padding: [0, 0],
  },
  {
    title: 'a mask of as many keys as queries is of both, however the owners cut them',
    shards: { q: [4, 6], kv: [7, 3] },
    view: {
      attentionMaskExtent: 9,
      mask: { ...CAUSAL, validRanges: { q: null, kv: [range(8)] } },
    },
    spec: {
      qSplits: [4, 5],
      kvSplits: [7, 2],
      mask: { ...CAUSAL, validRanges: { q: [range(8)], kv: [range(8)] } },
    },
    padding: [1, 1],
  },
  {
    title: 'lengths of a packed batch are its segments',
    shards: { q: [4, 4, 4] },
    view: { layout: 'thd', attentionMaskLengths: [3, 0, 6] },
    spec: {
      qSplits: [4, 4, 1],
      mask: { ...CAUSAL, segments: { cuSeqlensQ: [0, 3, 3, 9], cuSeqlensKv: [0, 3, 3, 9] } },
    },
    padding: [3, 3],
  },
  {
    title: 'a mask that says itself what is padding is left alone',
    shards: { q: [10] },
    view: {
      attentionMaskLengths: [8],
      mask: { ...CAUSAL, validRanges: { q: [range(6)], kv: [range(6)] } },
    },
    spec: { qSplits: [8], mask: { ...CAUSAL, validRanges: { q: [range(6)], kv: [range(6)] } } },
    padding: [2, 2],
  },
  {
    title: "a client's gather sizes count, one per extent",
    shards: { q: [4, 4], kv: [6, 6] },
    view: { clientCalculator: 'Theirs', gatherSizeQ: 7, gatherSizeKv: 5, gatherSizeCalculator: null },
    spec: { qSplits: [4, 3], kvSplits: [5, 0] },
    padding: [1, 1],
  },
  {
    title: 'a null for one extent asks for equal shards of that one only',
    shards: { q: [4, 4], kv: [9, 3] },
    view: { clientCalculator: 'Theirs', gatherSizeQ: null, gatherSizeKv: 5, gatherSizeCalculator: null },
    spec: { qSplits: [4, 4], kvSplits: [5, 0] },
    padding: [0, 0],
  },
];

describe('the spec that follows from what owners said', () => {
  it.each(CASES)('$title', async ({ shards, view, spec, padding }) => {
    const found = await resolved(shards, view);
    expect(found.spec).toMatchObject(spec);
    expect([found.padding.paddingRows, found.padding.paddingRowsNotExchanged]).toEqual(padding);
  });

  it.each<[string, Shards, Partial<StepView>, string, string]>([
    [
      'packed lengths when keys are not the queries',
      { q: [5, 5], kv: [6, 6] },
      { layout: 'thd', attentionMaskLengths: [4, 6] },
      'UNSUPPORTED',
      'attention_mask_lengths is [4,6], expected cu_seqlens for q and for kv when they differ',
    ],
    [
      'a null with unequal shards',
      { q: [4, 5] },
      { clientCalculator: 'Theirs', gatherSizeCalculator: null },
      'SHAPE_MISMATCH',
      'qSplits is [4,5], expected shards of equal size in an aligned exchange; use another calculator',
    ],
    [
      'a null with heads that do not divide',
      { q: [4, 4] },
      { gatherSizeCalculator: 'default', qHeads: 7 },
      'SHAPE_MISMATCH',
      'qHeads is 7, expected a multiple of cp_size 2',
    ],
    [
      "a client's gather size above the rows of all shards",
      { q: [4, 4] },
      { clientCalculator: 'Theirs', gatherSizeQ: 9, gatherSizeKv: 9 },
      'SHAPE_MISMATCH',
      'gather size of Theirs for tensor q is 9, expected null or an integer from 1 to 8',
    ],
    [
      'the same from a client that does not name its calculator',
      { q: [4, 4] },
      { gatherSizeQ: 9, gatherSizeKv: 9 },
      'SHAPE_MISMATCH',
      "gather size of the client's calculator for tensor q is 9",
    ],
    [
      'arguments that are no JSON object',
      { q: [4] },
      { calculatorArguments: '[1]' },
      'SHAPE_MISMATCH',
      'calculator_arguments_json is "[1]", expected a JSON object',
    ],
    [
      'a length for a sample that there is not',
      { q: [4] },
      { attentionMaskLengths: [4, 2] },
      'SHAPE_MISMATCH',
      'expected one length per sample, 1',
    ],
  ])('is refused: %s', async (_, shards, view, code, message) => {
    const error: unknown = await resolved(shards, view).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).toContain(message);
  });

  it('ignores every calculator when a KV-cache policy aligns the exchange', async () => {
    const byPolicy = { ...UNALIGNED, aligned: true, byPolicy: true };
    const found = await resolved({ q: [5, 5] }, { attentionMaskExtent: 7 }, dynamic, byPolicy);
    expect(found.spec.qSplits).toEqual([5, 5]);
  });
});

describe('a custom calculator', () => {
  let folder: string;
  let custom: Calculators;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'resolve-spec-'));
    const path = join(folder, 'per-tensor.mjs');
    await writeFile(
      path,
      `export const gatherSizeCalculator = {
        calculate({ tensor, shardRows, kwargs }) {
          if (kwargs.refuse === tensor) throw new Error(\`\${tensor} has shards \${shardRows}\`);
          return kwargs[tensor] ?? null;
        },
      };`,
    );
    custom = await Calculators.load(path);
  });
  afterAll(async () => {
    await rm(folder, { recursive: true });
  });

  const own = (kwargs: object): Partial<StepView> => ({
    gatherSizeCalculator: 'custom',
    calculatorArguments: JSON.stringify(kwargs),
  });

  it('is asked for q and for kv when their extents differ, each with the shards of all owners', async () => {
    const shards = { q: [4, 4], kv: [6, 6] };
    const found = await resolved(shards, own({ q: 7, kv: 11 }), custom);
    expect(found.spec).toMatchObject({ qSplits: [4, 3], kvSplits: [6, 5] });
    for (const [tensor, rows] of [
      ['q', '4,4'],
      ['kv', '6,6'],
    ] as const) {
      await expect(resolved(shards, own({ q: 7, refuse: tensor }), custom)).rejects.toThrow(
        `for tensor ${tensor}: ${tensor} has shards ${rows}`,
      );
    }
  });

  it('is asked for q alone when they are the same', async () => {
    const found = await resolved({ q: [4, 4] }, own({ q: 7, refuse: 'kv' }), custom);
    expect(found.spec).toMatchObject({ qSplits: [4, 3], kvSplits: [4, 3] });
  });

  it('is held to the rows of the tensor that it was asked for', async () => {
    await expect(resolved({ q: [4, 4], kv: [3, 3] }, own({ q: 8, kv: 7 }), custom)).rejects.toThrow(
      'for tensor kv is 7, expected null or an integer from 1 to 6',
    );
  });
});
