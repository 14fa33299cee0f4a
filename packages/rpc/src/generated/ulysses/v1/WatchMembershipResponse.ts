// Original file: proto/ulysses/v1/coordinator.proto

import type { RankAddress as _ulysses_v1_RankAddress, RankAddress__Output as _ulysses_v1_RankAddress__Output } from '../../ulysses/v1/RankAddress.js';
import type { Long } from '@grpc/proto-loader';

export interface WatchMembershipResponse {
  'epoch'?: (number | string | Long);
  'cpSize'?: (number);
  'complete'?: (boolean);
  'ranks'?: (_ulysses_v1_RankAddress)[];
}

export interface WatchMembershipResponse__Output {
  'epoch': (number);
  'cpSize': (number);
  'complete': (boolean);
  'ranks': (_ulysses_v1_RankAddress__Output)[];
}
