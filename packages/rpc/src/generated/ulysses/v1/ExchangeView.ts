// Original file: proto/ulysses/v1/coordinator.proto

import type { DType as _ulysses_v1_DType, DType__Output as _ulysses_v1_DType__Output } from '../../ulysses/v1/DType.js';
import type { RowRange as _ulysses_v1_RowRange, RowRange__Output as _ulysses_v1_RowRange__Output } from '../../ulysses/v1/RowRange.js';
import type { Long } from '@grpc/proto-loader';

/**
 * An exchange alone as one sequence owner sees it. It has one owner per rank.
 */
export interface ExchangeView {
  'dtype'?: (_ulysses_v1_DType);
  /**
   * Extents of this owner's shard.
   */
  'shape'?: (number | string | Long)[];
  'scatterDim'?: (number);
  'gatherDim'?: (number);
  /**
   * Extent of the gather dimension afterwards; absent: all rows of all shards.
   */
  'gatherSize'?: (number | string | Long);
  /**
   * Shards must be equal and the scatter dimension must divide.
   */
  'aligned'?: (boolean);
  /**
   * What every owner gets of the scatter dimension; empty: equal parts, the remainder one each to the lowest owners.
   */
  'scatterRanges'?: (_ulysses_v1_RowRange)[];
  /**
   * What every owner holds of the gather dimension; empty: shards follow each other in owner order.
   */
  'gatherRanges'?: (_ulysses_v1_RowRange)[];
  /**
   * What the callers use it for, in their own words; must be the same text on all owners.
   */
  'purpose'?: (string);
  /**
   * Why this owner cannot take part: the step ends at once for all owners, with this one's name. Empty: it can.
   */
  'failure'?: (string);
  '_gatherSize'?: "gatherSize";
}

/**
 * An exchange alone as one sequence owner sees it. It has one owner per rank.
 */
export interface ExchangeView__Output {
  'dtype': (_ulysses_v1_DType__Output);
  /**
   * Extents of this owner's shard.
   */
  'shape': (number)[];
  'scatterDim': (number);
  'gatherDim': (number);
  /**
   * Extent of the gather dimension afterwards; absent: all rows of all shards.
   */
  'gatherSize'?: (number);
  /**
   * Shards must be equal and the scatter dimension must divide.
   */
  'aligned': (boolean);
  /**
   * What every owner gets of the scatter dimension; empty: equal parts, the remainder one each to the lowest owners.
   */
  'scatterRanges': (_ulysses_v1_RowRange__Output)[];
  /**
   * What every owner holds of the gather dimension; empty: shards follow each other in owner order.
   */
  'gatherRanges': (_ulysses_v1_RowRange__Output)[];
  /**
   * What the callers use it for, in their own words; must be the same text on all owners.
   */
  'purpose': (string);
  /**
   * Why this owner cannot take part: the step ends at once for all owners, with this one's name. Empty: it can.
   */
  'failure': (string);
  '_gatherSize'?: "gatherSize";
}
