import type { StepView } from '@ulysses/rpc';

/** A view for tests: causal attention of one owner that holds 10 rows. */
export const SAMPLE_VIEW: StepView = {
  dtype: 'f32',
  layout: 'sbhd',
  batch: 1,
  qHeads: 8,
  kvHeads: 2,
  headSize: 64,
  qRows: 10,
  kvRows: 10,
  mask: { left: null, right: 0, segments: null, validRanges: null },
  scale: 0.125,
  strategy: null,
  keep: 'store',
  attentionMaskLengths: null,
  attentionMaskExtent: null,
  gatherSizeQ: null,
  gatherSizeKv: null,
  clientCalculator: null,
  gatherSizeCalculator: 'dynamic',
  calculatorArguments: null,
  kvCachePolicy: null,
  kvCacheBudgetBytes: null,
  kvCachePolicyUnaligned: false,
};
