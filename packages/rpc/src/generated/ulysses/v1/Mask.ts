// Original file: proto/ulysses/v1/plan.proto

import type { RowRange as _ulysses_v1_RowRange, RowRange__Output as _ulysses_v1_RowRange__Output } from '../../ulysses/v1/RowRange.js';
import type { Long } from '@grpc/proto-loader';

/**
 * Band and (segments | valid ranges). An absent bound is unbounded; causal is right = 0.
 */
export interface Mask {
  'left'?: (number | string | Long);
  'right'?: (number | string | Long);
  'cuSeqlensQ'?: (number | string | Long)[];
  'cuSeqlensKv'?: (number | string | Long)[];
  'validQ'?: (_ulysses_v1_RowRange)[];
  'validKv'?: (_ulysses_v1_RowRange)[];
  '_left'?: "left";
  '_right'?: "right";
}

/**
 * Band and (segments | valid ranges). An absent bound is unbounded; causal is right = 0.
 */
export interface Mask__Output {
  'left'?: (number);
  'right'?: (number);
  'cuSeqlensQ': (number)[];
  'cuSeqlensKv': (number)[];
  'validQ': (_ulysses_v1_RowRange__Output)[];
  'validKv': (_ulysses_v1_RowRange__Output)[];
  '_left'?: "left";
  '_right'?: "right";
}
