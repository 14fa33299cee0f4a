import { rankLinkName, type ExchangePlane } from '@ulysses/exchange';
import { UlyssesError } from '@ulysses/errors';
import type { RankAddress } from '@ulysses/rpc';

/** This process's place in an epoch. */
export interface EpochSeat {
  readonly epoch: number;
  readonly rank: number;
  readonly ranks: readonly RankAddress[];
  /** Link name per rank; null for this rank itself. */
  readonly peerLinks: readonly (string | null)[];
}

/** A peer that could not be reached while entering an epoch. */
export class PeerUnreachable extends Error {
  override readonly name = 'PeerUnreachable';
  readonly peer: RankAddress;

  constructor(peer: RankAddress, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.peer = peer;
  }
}

/**
 * Connects to every peer of an epoch. Links to peers that stay are kept, links to those that left are closed.
 * Resolves when all are up; rejects with PeerUnreachable for the first that is not within the deadline.
 */
export async function takeSeat(
  plane: ExchangePlane,
  member: string,
  epoch: number,
  ranks: readonly RankAddress[],
  connected: Set<string>,
  deadlineMs: number,
): Promise<EpochSeat> {
  const own = ranks.find((rank) => rank.member === member);
  if (own === undefined) {
    throw new UlyssesError('LEASE_LOST', `member ${member} has no rank in epoch ${epoch}`, {
      field: 'ranks',
      value: ranks.map((rank) => rank.member).join(', '),
      expected: `a list with ${member}`,
    });
  }
  const party = rankLinkName(own.rank, member);
  const peerLinks = ranks.map((rank) =>
    rank === own ? null : `to/${rankLinkName(rank.rank, rank.member)}/from/${own.rank}`,
  );
  for (const link of connected) {
    if (!peerLinks.includes(link)) {
      connected.delete(link);
      plane.disconnect(link);
    }
  }
  await Promise.all(
    ranks.map(async (rank, index) => {
      const link = peerLinks[index];
      if (link === null || link === undefined || connected.has(link)) return;
      try {
        await plane.connectRank(link, rank.tensorAddress, party, { deadlineMs });
      } catch (cause) {
        throw new PeerUnreachable(rank, cause);
      }
      connected.add(link);
    }),
  );
  return { epoch, rank: own.rank, ranks, peerLinks };
}
