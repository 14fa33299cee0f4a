// Original file: proto/ulysses/v1/rendezvous.proto

import type { Long } from '@grpc/proto-loader';

export interface RenewRequest {
  'member'?: (string);
  'rank'?: (number);
  /**
   * The highest epoch this member has seen; the store advances from the maximum.
   */
  'epoch'?: (number | string | Long);
}

export interface RenewRequest__Output {
  'member': (string);
  'rank': (number);
  /**
   * The highest epoch this member has seen; the store advances from the maximum.
   */
  'epoch': (number);
}
