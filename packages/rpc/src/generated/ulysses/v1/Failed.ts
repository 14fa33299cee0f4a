// Original file: proto/ulysses/v1/rank.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';
import type { Error as _ulysses_v1_Error, Error__Output as _ulysses_v1_Error__Output } from '../../ulysses/v1/Error.js';

export interface Failed {
  'step'?: (_ulysses_v1_StepKey | null);
  'error'?: (_ulysses_v1_Error | null);
}

export interface Failed__Output {
  'step': (_ulysses_v1_StepKey__Output | null);
  'error': (_ulysses_v1_Error__Output | null);
}
