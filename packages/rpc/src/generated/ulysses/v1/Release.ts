// Original file: proto/ulysses/v1/rank.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';

/**
 * Frees what a forward kept for its backward.
 */
export interface Release {
  /**
   * The forward's key.
   */
  'step'?: (_ulysses_v1_StepKey | null);
}

/**
 * Frees what a forward kept for its backward.
 */
export interface Release__Output {
  /**
   * The forward's key.
   */
  'step': (_ulysses_v1_StepKey__Output | null);
}
