// Original file: proto/ulysses/v1/rendezvous.proto

import type { Long } from '@grpc/proto-loader';

export interface JoinResponse {
  'rank'?: (number);
  'epoch'?: (number | string | Long);
  'leaseMs'?: (number | string | Long);
}

export interface JoinResponse__Output {
  'rank': (number);
  'epoch': (number);
  'leaseMs': (number);
}
