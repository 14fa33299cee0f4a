export {
  DefaultGatherSizeCalculator,
  DynamicGatherSizeCalculator,
  type GatherSizeCalculator,
  type GatherSizeInput,
} from './gather-size.js';
export { explainPlan, type PlanReport, type RankCost, type Retention } from './explain.js';
export {
  STRATEGIES,
  type KvInterval,
  type Mask,
  type PairSegments,
  type Plan,
  type RankTable,
  type RowRange,
  type Segment,
  type StepSpec,
  type Strategy,
  type Unit,
} from './spec.js';
export {
  carriedTensors,
  chooseKvCachePolicy,
  keptBytes,
  KEEPS,
  KV_CACHE_BUDGET_BYTES,
  KV_CACHE_CHOICES,
  KV_CACHE_POLICIES,
  type Keep,
  type KvCacheChoice,
  type KvCachePolicy,
} from './kv-cache.js';
export { createPlan, verifyPlan } from './plan.js';
export {
  createExchangePlan,
  verifyExchangePlan,
  type ExchangePlan,
  type ExchangeSpec,
} from './exchange-plan.js';
export {
  boxBytes,
  cutAlong,
  exchangeBytes,
  inputShape,
  outputShape,
  placedBox,
  sentBox,
  type ExchangeBox,
} from './exchange-box.js';
export { rankTable, rankTables } from './rank-table.js';
export { granulesOf, isOneCall, type Granule } from './granules.js';
export { DerivedFromPlans, KnownPlans } from './known-plans.js';
export { pairSegments } from './pair-segments.js';
export { classifyMask, type MaskExtents, type MaskTensor } from './classify-mask.js';
export { maskOfAll, type OwnerMask } from './owner-mask.js';
export { rowBounds } from './row-bounds.js';
export { pairsBeforeRow, sampleMasks, type SampleMask } from './sample-mask.js';
export { askGatherSize, calculatorName, checkGatherSize, resolveGatherSize } from './gather-size.js';
export { defaultStrategy, requireAligned } from './aligned.js';
export { clipSplits, splitRanges, splitSizes } from './split-sizes.js';
export { paddingOf, type Padding } from './padding.js';
export {
  pairBytes,
  pairTotals,
  stepBytes,
  type CarriedTensor,
  type PairBytes,
  type Pass,
  type StepBytes,
} from './step-bytes.js';
export { SUPPORTED, unsupported, type Supported, type SupportedField } from './supported.js';
