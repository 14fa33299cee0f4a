// Original file: proto/ulysses/v1/rank.proto

import type { Long } from '@grpc/proto-loader';

/**
 * A link to a peer broke; every step that uses it is lost.
 */
export interface PeerLost {
  'epoch'?: (number | string | Long);
  'rank'?: (number);
  'member'?: (string);
  'reason'?: (string);
}

/**
 * A link to a peer broke; every step that uses it is lost.
 */
export interface PeerLost__Output {
  'epoch': (number);
  'rank': (number);
  'member': (string);
  'reason': (string);
}
