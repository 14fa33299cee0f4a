// Writes vectors/plans.json: specs with the plan that every implementation must make of them, or of their cuts.
// Run after `npx tsc -b packages/plan`, then `npm run format`. The committed file is what counts: a planner that would
// change it needs a new PLANNER_VERSION. `planText` is what the plan id is the sha256 of.
import { writeFileSync } from 'node:fs';
import { createPlan, granulesOf, rankTables } from '../dist/index.js';
import { planText } from '../dist/plan-id.js';
import { granulesDigest, segmentsDigest, tableDigest } from '../dist/table-digest.js';

const full = { left: null, right: null, segments: null, validRanges: null };
const causal = { ...full, right: 0 };
const equalCu = (lengths) => lengths.reduce((sums, length) => [...sums, sums.at(-1) + length], [0]);
const packed = (q, kv = q) => ({ cuSeqlensQ: equalCu(q), cuSeqlensKv: equalCu(kv) });
const base = {
  dtype: 'f32',
  layout: 'sbhd',
  batch: 1,
  qHeads: 8,
  kvHeads: 8,
  headSize: 64,
  qSplits: [256, 256, 256, 256],
  kvSplits: [256, 256, 256, 256],
  mask: causal,
  scale: 0.125,
  strategy: 'balanced',
  weights: null,
};
const rows = (...splits) => ({ qSplits: splits, kvSplits: splits });

/** [name, cpSize, what differs from the base] */
const cases = [
  ['aligned, whole heads', 4, { strategy: 'heads' }],
  ['aligned, balanced', 4, {}],
  ['full mask', 4, { mask: full }],
  [
    '28 heads, 4 KV heads on 8 ranks, s = 8190',
    8,
    { qHeads: 28, kvHeads: 4, ...rows(2048, 2048, 2047, 2047) },
  ],
  ['5 heads on 4 ranks, bf16', 4, { dtype: 'bf16', qHeads: 5, kvHeads: 1, ...rows(1000) }],
  ['2 heads on 4 ranks', 4, { qHeads: 2, kvHeads: 2, ...rows(333, 333, 332) }],
  ['1 head on 3 ranks', 3, { qHeads: 1, kvHeads: 1, ...rows(1000) }],
  ['7 heads on 8 ranks, f16', 8, { dtype: 'f16', qHeads: 7, kvHeads: 7, ...rows(127) }],
  ['7 heads on 8 ranks, whole heads, a rank idles', 8, { qHeads: 7, kvHeads: 1, strategy: 'heads' }],
  ['1 head on 8 ranks', 8, { qHeads: 1, kvHeads: 1, mask: full, ...rows(5, 0) }],
  ['one row', 3, { qHeads: 3, kvHeads: 1, ...rows(0, 1, 0) }],
  ['one rank', 1, { qHeads: 3, kvHeads: 3, ...rows(10) }],
  ['batch of 3, whole heads', 4, { batch: 3, strategy: 'heads', layout: 'bshd' }],
  ['batch of 3, balanced', 4, { batch: 3, qHeads: 7, kvHeads: 1, layout: 'bshd' }],
  ['sliding window', 4, { mask: { ...full, left: 100, right: 3 } }],
  ['window that sees only itself', 4, { mask: { ...full, left: 0, right: 0 } }],
  ['more keys than queries, causal', 3, { qSplits: [100, 27], kvSplits: [500, 13] }],
  ['more queries than keys, causal, first rows see nothing', 3, { qSplits: [500, 13], kvSplits: [100, 27] }],
  [
    'packed, one long sample',
    4,
    {
      layout: 'thd',
      ...rows(2338, 2338, 2338, 2338),
      mask: { ...causal, segments: packed([9001, 17, 1, 0, 333]) },
    },
  ],
  [
    'packed, other lengths for keys, window',
    3,
    {
      layout: 'thd',
      dtype: 'bf16',
      qHeads: 4,
      kvHeads: 2,
      qSplits: [20, 22],
      kvSplits: [60, 61],
      mask: { left: 4, right: 0, segments: packed([10, 0, 12, 20], [50, 11, 0, 60]), validRanges: null },
    },
  ],
  [
    'valid ranges, left and right padding, an empty sample',
    4,
    {
      batch: 3,
      qHeads: 6,
      kvHeads: 3,
      ...rows(40, 60),
      mask: {
        ...causal,
        validRanges: {
          q: [
            { begin: 10, end: 100 },
            { begin: 0, end: 77 },
            { begin: 5, end: 5 },
          ],
          kv: [
            { begin: 10, end: 100 },
            { begin: 0, end: 77 },
            { begin: 5, end: 5 },
          ],
        },
      },
    },
  ],
  [
    'nothing is visible',
    3,
    {
      qHeads: 2,
      kvHeads: 1,
      ...rows(10),
      mask: { ...full, validRanges: { q: [{ begin: 0, end: 0 }], kv: [{ begin: 0, end: 10 }] } },
    },
  ],
  ['weights', 4, { weights: [1, 0.5, 0, 2.25] }],
  ['scale and head size of their own', 2, { headSize: 1, scale: Math.fround(0.1) }],
];

const vectors = cases.map(([name, cpSize, changes]) => {
  const spec = { ...base, ...changes };
  const plan = createPlan(spec, cpSize);
  return {
    name,
    cpSize,
    spec,
    cuts: plan.cuts,
    planText: planText(spec, cpSize, plan.cuts),
    planId: plan.planId,
    tableDigests: rankTables(plan).map(tableDigest),
    granuleDigests: granulesOf(plan, rankTables(plan)).map(granulesDigest),
    segmentDigests: spec.qSplits.map((_, owner) => segmentsDigest(plan, owner)),
  };
});

writeFileSync(new URL('../vectors/plans.json', import.meta.url), `${JSON.stringify(vectors, null, 2)}\n`);
