// Original file: proto/ulysses/v1/coordinator.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';
import type { TraceSpan as _ulysses_v1_TraceSpan, TraceSpan__Output as _ulysses_v1_TraceSpan__Output } from '../../ulysses/v1/TraceSpan.js';

/**
 * What one process did with a step, one phase after the other; of the last 256 steps that ended.
 */
export interface StepTrace {
  'step'?: (_ulysses_v1_StepKey | null);
  'spans'?: (_ulysses_v1_TraceSpan)[];
}

/**
 * What one process did with a step, one phase after the other; of the last 256 steps that ended.
 */
export interface StepTrace__Output {
  'step': (_ulysses_v1_StepKey__Output | null);
  'spans': (_ulysses_v1_TraceSpan__Output)[];
}
