// Original file: proto/ulysses/v1/rank.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';

/**
 * All units are computed and every row this rank sent is acknowledged.
 */
export interface Finished {
  'step'?: (_ulysses_v1_StepKey | null);
}

/**
 * All units are computed and every row this rank sent is acknowledged.
 */
export interface Finished__Output {
  'step': (_ulysses_v1_StepKey__Output | null);
}
