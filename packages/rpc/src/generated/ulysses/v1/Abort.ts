// Original file: proto/ulysses/v1/rank.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';
import type { Error as _ulysses_v1_Error, Error__Output as _ulysses_v1_Error__Output } from '../../ulysses/v1/Error.js';

/**
 * The step ends here; `cause` is the first failure anyone saw.
 */
export interface Abort {
  'step'?: (_ulysses_v1_StepKey | null);
  'cause'?: (_ulysses_v1_Error | null);
}

/**
 * The step ends here; `cause` is the first failure anyone saw.
 */
export interface Abort__Output {
  'step': (_ulysses_v1_StepKey__Output | null);
  'cause': (_ulysses_v1_Error__Output | null);
}
