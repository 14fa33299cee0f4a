// Original file: proto/ulysses/v1/plan.proto

import type { DType as _ulysses_v1_DType, DType__Output as _ulysses_v1_DType__Output } from '../../ulysses/v1/DType.js';
import type { RowRange as _ulysses_v1_RowRange, RowRange__Output as _ulysses_v1_RowRange__Output } from '../../ulysses/v1/RowRange.js';
import type { Long } from '@grpc/proto-loader';

/**
 * An all-to-all alone, resolved. Owner i holds gather_ranges[i] of the gather dimension before, and has scatter_ranges[i] of the
 * scatter dimension afterwards; the other dimension is whole.
 */
export interface ExchangeSpec {
  'dtype'?: (_ulysses_v1_DType);
  /**
   * Extents with both dimensions whole; the tensor is dense and row-major.
   */
  'shape'?: (number | string | Long)[];
  'scatterDim'?: (number);
  'gatherDim'?: (number);
  'scatterRanges'?: (_ulysses_v1_RowRange)[];
  'gatherRanges'?: (_ulysses_v1_RowRange)[];
}

/**
 * An all-to-all alone, resolved. Owner i holds gather_ranges[i] of the gather dimension before, and has scatter_ranges[i] of the
 * scatter dimension afterwards; the other dimension is whole.
 */
export interface ExchangeSpec__Output {
  'dtype': (_ulysses_v1_DType__Output);
  /**
   * Extents with both dimensions whole; the tensor is dense and row-major.
   */
  'shape': (number)[];
  'scatterDim': (number);
  'gatherDim': (number);
  'scatterRanges': (_ulysses_v1_RowRange__Output)[];
  'gatherRanges': (_ulysses_v1_RowRange__Output)[];
}
