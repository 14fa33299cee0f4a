// Original file: proto/ulysses/v1/rendezvous.proto

import type { Long } from '@grpc/proto-loader';

export interface RenewResponse {
  'epoch'?: (number | string | Long);
}

export interface RenewResponse__Output {
  'epoch': (number);
}
