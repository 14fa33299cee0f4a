// Original file: proto/ulysses/v1/rank.proto

import type { RankAddress as _ulysses_v1_RankAddress, RankAddress__Output as _ulysses_v1_RankAddress__Output } from '../../ulysses/v1/RankAddress.js';
import type { Long } from '@grpc/proto-loader';

/**
 * A new epoch: the rank connects to every peer, then says ready.
 */
export interface EnterEpoch {
  'epoch'?: (number | string | Long);
  'ranks'?: (_ulysses_v1_RankAddress)[];
}

/**
 * A new epoch: the rank connects to every peer, then says ready.
 */
export interface EnterEpoch__Output {
  'epoch': (number);
  'ranks': (_ulysses_v1_RankAddress__Output)[];
}
