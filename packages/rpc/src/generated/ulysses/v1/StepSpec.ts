// Original file: proto/ulysses/v1/plan.proto

import type { DType as _ulysses_v1_DType, DType__Output as _ulysses_v1_DType__Output } from '../../ulysses/v1/DType.js';
import type { Layout as _ulysses_v1_Layout, Layout__Output as _ulysses_v1_Layout__Output } from '../../ulysses/v1/Layout.js';
import type { Mask as _ulysses_v1_Mask, Mask__Output as _ulysses_v1_Mask__Output } from '../../ulysses/v1/Mask.js';
import type { Strategy as _ulysses_v1_Strategy, Strategy__Output as _ulysses_v1_Strategy__Output } from '../../ulysses/v1/Strategy.js';
import type { Long } from '@grpc/proto-loader';

/**
 * A step, resolved: everything that a plan follows from, in the order in which the plan id hashes it.
 */
export interface StepSpec {
  'dtype'?: (_ulysses_v1_DType);
  'layout'?: (_ulysses_v1_Layout);
  'batch'?: (number);
  'qHeads'?: (number);
  'kvHeads'?: (number);
  'headSize'?: (number);
  'qSplits'?: (number | string | Long)[];
  'kvSplits'?: (number | string | Long)[];
  'mask'?: (_ulysses_v1_Mask | null);
  'scale'?: (number | string);
  'strategy'?: (_ulysses_v1_Strategy);
  'weights'?: (number | string)[];
}

/**
 * A step, resolved: everything that a plan follows from, in the order in which the plan id hashes it.
 */
export interface StepSpec__Output {
  'dtype': (_ulysses_v1_DType__Output);
  'layout': (_ulysses_v1_Layout__Output);
  'batch': (number);
  'qHeads': (number);
  'kvHeads': (number);
  'headSize': (number);
  'qSplits': (number)[];
  'kvSplits': (number)[];
  'mask': (_ulysses_v1_Mask__Output | null);
  'scale': (number);
  'strategy': (_ulysses_v1_Strategy__Output);
  'weights': (number)[];
}
