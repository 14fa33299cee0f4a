// Original file: proto/ulysses/v1/rank.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';

/**
 * Every rank finished: results may be kept, everything else is freed.
 */
export interface Commit {
  'step'?: (_ulysses_v1_StepKey | null);
}

/**
 * Every rank finished: results may be kept, everything else is freed.
 */
export interface Commit__Output {
  'step': (_ulysses_v1_StepKey__Output | null);
}
