// Original file: proto/ulysses/v1/rank.proto

import type { RankStatus as _ulysses_v1_RankStatus, RankStatus__Output as _ulysses_v1_RankStatus__Output } from '../../ulysses/v1/RankStatus.js';

export interface GetRankStatusResponse {
  'status'?: (_ulysses_v1_RankStatus | null);
}

export interface GetRankStatusResponse__Output {
  'status': (_ulysses_v1_RankStatus__Output | null);
}
