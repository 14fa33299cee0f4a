export { Region, regionStats } from './region.js';
export { attentionBackward, attentionForward } from './attention.js';
export { matmul } from './matmul.js';
export { foldPartials } from './fold-partials.js';
export { detectIsa, type JobOptions } from './device.js';
export { SHARED_BYTES, TensorPlane, type ConnectOptions, type TensorPlaneOptions } from './tensor-plane.js';
export type { FoldJob, MatmulJob, MemoryUsage, PlaneCounters, StepBytes } from './native.js';
export { ISAS, TENSORS, TRANSPORTS } from './types.js';
export type {
  AttentionJob,
  BackwardUnit,
  ForwardUnit,
  Isa,
  Matrix,
  Party,
  Pass,
  PlaneEvent,
  Receive,
  Role,
  Route,
  Rows,
  RowsToSend,
  SegmentPlace,
  StepKey,
  StepRegistration,
  TensorName,
  Transport,
} from './types.js';
