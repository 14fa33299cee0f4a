// Original file: proto/ulysses/v1/coordinator.proto

import type { Long } from '@grpc/proto-loader';

export interface TraceSpan {
  'phase'?: (string);
  /**
   * Microseconds since 1970, by the clock of the process.
   */
  'beginUs'?: (number | string | Long);
  'endUs'?: (number | string | Long);
}

export interface TraceSpan__Output {
  'phase': (string);
  /**
   * Microseconds since 1970, by the clock of the process.
   */
  'beginUs': (number);
  'endUs': (number);
}
