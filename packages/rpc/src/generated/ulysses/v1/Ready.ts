// Original file: proto/ulysses/v1/rank.proto

import type { Long } from '@grpc/proto-loader';

export interface Ready {
  'epoch'?: (number | string | Long);
}

export interface Ready__Output {
  'epoch': (number);
}
