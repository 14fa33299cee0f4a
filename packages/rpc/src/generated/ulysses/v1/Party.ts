// Original file: proto/ulysses/v1/tensor.proto

import type { Role as _ulysses_v1_Role, Role__Output as _ulysses_v1_Role__Output } from '../../ulysses/v1/Role.js';

/**
 * One end of a transfer: a rank or a sequence owner of the step.
 */
export interface Party {
  'role'?: (_ulysses_v1_Role);
  'index'?: (number);
}

/**
 * One end of a transfer: a rank or a sequence owner of the step.
 */
export interface Party__Output {
  'role': (_ulysses_v1_Role__Output);
  'index': (number);
}
