// Original file: proto/ulysses/v1/coordinator.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';

export interface ReleaseRequest {
  /**
   * The forward's key.
   */
  'step'?: (_ulysses_v1_StepKey | null);
}

export interface ReleaseRequest__Output {
  /**
   * The forward's key.
   */
  'step': (_ulysses_v1_StepKey__Output | null);
}
