import type { WireInput, WireOutput } from '../load-proto.js';
import type { ClusterStatus, RankStatus } from '../messages.js';
import { required } from './fields.js';
import { rankAddressFromProto, rankAddressToProto } from './rank-address.js';

export function rankStatusToProto(status: RankStatus): WireInput<'RankStatus'> {
  return { ...status, rank: rankAddressToProto(status.rank) };
}

export function rankStatusFromProto(message: WireOutput<'RankStatus'> | null, path: string): RankStatus {
  const status = required(message, path, 'RankStatus');
  return { ...status, rank: rankAddressFromProto(status.rank, `${path}.rank`) };
}

export function clusterStatusToProto(status: ClusterStatus): WireInput<'GetStatusResponse'> {
  return { ...status, ranks: status.ranks.map(rankStatusToProto) };
}

export function clusterStatusFromProto(
  message: WireOutput<'GetStatusResponse'>,
  path: string,
): ClusterStatus {
  return {
    ...message,
    ranks: message.ranks.map((status, i) => rankStatusFromProto(status, `${path}.ranks[${i}]`)),
  };
}
