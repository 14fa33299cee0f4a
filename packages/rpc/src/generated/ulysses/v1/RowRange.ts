// Original file: proto/ulysses/v1/plan.proto

import type { Long } from '@grpc/proto-loader';

export interface RowRange {
  'begin'?: (number | string | Long);
  'end'?: (number | string | Long);
}

export interface RowRange__Output {
  'begin': (number);
  'end': (number);
}
