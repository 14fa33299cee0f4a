// Original file: proto/ulysses/v1/coordinator.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';

export interface SettleStepRequest {
  /**
   * With the attempt that this owner was given.
   */
  'step'?: (_ulysses_v1_StepKey | null);
  'ownerIndex'?: (number);
}

export interface SettleStepRequest__Output {
  /**
   * With the attempt that this owner was given.
   */
  'step': (_ulysses_v1_StepKey__Output | null);
  'ownerIndex': (number);
}
