// Original file: proto/ulysses/v1/plan.proto

import type { StepSpec as _ulysses_v1_StepSpec, StepSpec__Output as _ulysses_v1_StepSpec__Output } from '../../ulysses/v1/StepSpec.js';
import type { Long } from '@grpc/proto-loader';

/**
 * Spec and cuts: all that travels of a plan. Tables are derived by every reader.
 */
export interface Plan {
  'planId'?: (string);
  'cpSize'?: (number);
  'spec'?: (_ulysses_v1_StepSpec | null);
  'cuts'?: (number | string | Long)[];
}

/**
 * Spec and cuts: all that travels of a plan. Tables are derived by every reader.
 */
export interface Plan__Output {
  'planId': (string);
  'cpSize': (number);
  'spec': (_ulysses_v1_StepSpec__Output | null);
  'cuts': (number)[];
}
