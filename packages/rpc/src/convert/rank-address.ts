import type { WireInput, WireOutput } from '../load-proto.js';
import type { Membership, RankAddress } from '../messages.js';
import { required } from './fields.js';

export function rankAddressToProto(address: RankAddress): WireInput<'RankAddress'> {
  const { rank, member, controlAddress, tensorAddress } = address;
  return { index: rank, member, controlAddress, tensorAddress };
}

export function rankAddressFromProto(message: WireOutput<'RankAddress'> | null, path: string): RankAddress {
  const { index, member, controlAddress, tensorAddress } = required(message, path, 'RankAddress');
  return { rank: index, member, controlAddress, tensorAddress };
}

export function rankAddressesFromProto(
  messages: readonly WireOutput<'RankAddress'>[],
  path: string,
): readonly RankAddress[] {
  return messages.map((message, i) => rankAddressFromProto(message, `${path}[${i}]`));
}

export function membershipToProto(membership: Membership): WireInput<'WatchMembershipResponse'> {
  const { epoch, cpSize, complete, members } = membership;
  return { epoch, cpSize, complete, ranks: members.map(rankAddressToProto) };
}

export function membershipFromProto(
  message: WireOutput<'WatchMembershipResponse'>,
  path: string,
): Membership {
  const { epoch, cpSize, complete, ranks } = message;
  return { epoch, cpSize, complete, members: rankAddressesFromProto(ranks, `${path}.ranks`) };
}
