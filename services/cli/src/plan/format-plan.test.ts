import { createPlan, explainPlan, rankTables, type Retention, type StepSpec } from '@ulysses/plan';
import { expect, it } from 'vitest';
import { formatPlan } from './format-plan.js';

const SPEC: StepSpec = {
  dtype: 'f32',
  layout: 'sbhd',
  batch: 1,
  qHeads: 3,
  kvHeads: 1,
  headSize: 8,
  qSplits: [3, 2],
  kvSplits: [3, 2],
  mask: { left: null, right: null, segments: null, validRanges: null },
  scale: 1,
  strategy: 'balanced',
  weights: null,
};

function format(spec: StepSpec, cpSize: number, retention?: Retention): string {
  const plan = createPlan(spec, cpSize);
  return formatPlan(spec, explainPlan(plan, retention), rankTables(plan)).replace(
    plan.planId.slice(0, 16),
    'ID',
  );
}

it('a plan is explained: splits, units, bytes per pair, memory, balance, duplication, legal sizes', () => {
  // 3 heads of 5 rows are 15 rows: 8 for rank 0, 7 for rank 1. A row of q is 32 bytes, of lse 4.
  // Both ranks read all 5 rows of the one KV head, so twice as many KV rows travel as there are.
  expect(format(SPEC, 2)).toMatchInlineSnapshot(`
    "plan ID: 3 heads on 2 ranks, strategy balanced
    step: b 1, s_q 5, s_kv 5, h 3, h_kv 1, d 8, f32, sbhd, full
    q rows of the 2 owners: 3 2

    ranks, with memory for forward, for backward beyond it, and kept between the two with KV-cache policy none, half and full:
    rank  units  heads  q rows  kv rows  work  of its share  forward  backward   none   half   full
       0      2  1.600       8        5    40         1.067    864 B   + 832 B  864 B  704 B  544 B
       1      2  1.400       7        5    35         0.933    796 B   + 768 B  796 B  636 B  476 B

    units:
      rank 0: head 0, head 1 [0, 3)
      rank 1: head 1 [3, 5), head 2

    forward: owners send 1.094 KiB, ranks return 540 B
    sent / returned         rank 0         rank 1
    owner 0          384 B / 216 B  288 B / 108 B
    owner 1           192 B / 72 B  256 B / 144 B

    backward, kv-cache policy none: owners send 480 B, ranks return 1.094 KiB
    sent / returned         rank 0         rank 1
    owner 0          192 B / 384 B   96 B / 288 B
    owner 1           64 B / 192 B  128 B / 256 B

    balance: 1.067 (largest rank over its fair share of visible work)
    kv duplication: 2.000 (10 rows of KV heads sent, 5 needed once)
    kv-cache policies: half saves 160 B, as K of the owners (160 B) stands in for K of the ranks (320 B), which backward sends again; full twice that, with V
    flops: forward 2.400e+3, backward 6.000e+3
    legal sizes: every cp_size unaligned; aligned at none"
  `);
});

it('a rank without work is idle, and a packed causal batch is named', () => {
  const cuSeqlens = [0, 4, 5];
  const text = format(
    {
      ...SPEC,
      layout: 'thd',
      strategy: 'heads',
      mask: {
        left: 2,
        right: 0,
        segments: { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens },
        validRanges: null,
      },
    },
    4,
  );
  expect(text).toContain('causal, window 2, 2 packed samples');
  expect(text).toContain('  rank 3: idle');
});

it('samples are named when there are several, and long lists are cut', () => {
  const text = format({ ...SPEC, batch: 3, qHeads: 6 }, 2);
  expect(text).toContain(
    '  rank 0: sample 0 head 0, sample 0 head 1, sample 0 head 2, sample 0 head 3, … 5 more',
  );
  expect(format(SPEC, 13)).toContain('(every pair: --json)');
});

it('bytes of backward are those of the keep mode and KV-cache policy, and a policy that saves nothing is called so', () => {
  const backward = (retention: Retention): string =>
    format(SPEC, 2, retention)
      .split('\n')
      .find((line) => line.startsWith('backward'))!;
  // dout is 15 rows of 32 bytes; K is 10 rows, on each rank all 5 of the only KV head.
  expect(backward({ keep: 'store', policy: 'none' })).toBe(
    'backward, kv-cache policy none: owners send 480 B, ranks return 1.094 KiB',
  );
  expect(backward({ keep: 'store', policy: 'half' })).toContain(
    `kv-cache policy half: owners send ${480 + 320} B`,
  );
  expect(backward({ keep: 'store', policy: 'full' })).toContain(
    'kv-cache policy full: owners send 1.094 KiB',
  );
  expect(backward({ keep: 'recompute', policy: 'none' })).toContain('keep recompute: owners send 1.563 KiB');
  const alike = format({ ...SPEC, qHeads: 4, kvHeads: 2 }, 2);
  expect(alike).toContain('kv-cache policies: half and full save nothing');
  expect(format(SPEC, 2)).toContain('kv-cache policies: half saves 160 B');
});
