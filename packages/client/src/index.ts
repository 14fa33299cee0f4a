export { connect, type Cluster, type ClusterWarning, type ConnectOptions } from './cluster.js';
export { UlyssesContextAttention, type ForwardResult } from './ulysses-context-attention.js';
export type {
  CoreAttention,
  CoreAttentionCall,
  CoreAttentionOutput,
  CoreGradients,
} from './core-attention.js';
export type { CoreAttentionReport, CoreAttentionResult } from './core-attention-result.js';
export type { AttentionOptions, CallOptions } from './attention-options.js';
export type {
  AttentionGradients,
  AttentionResult,
  BackwardOptions,
  ReleaseOptions,
} from './attention-result.js';
export {
  exchange,
  type ExchangeOptions,
  type ExchangeReport,
  type ExchangeResult,
  type ReverseOptions,
} from './exchange.js';
export type { DenseTensor } from './dense-tensor.js';
export type { StepReport } from './step-report.js';
export type { TensorView } from './tensor-view.js';
export {
  DefaultGatherSizeCalculator,
  DynamicGatherSizeCalculator,
  type GatherSizeCalculator,
  type GatherSizeInput,
  type Keep,
  type KvCacheChoice,
  type KvCachePolicy,
  type Mask,
  type MaskTensor,
} from '@ulysses/plan';
export type { TlsFiles } from '@ulysses/runtime';
