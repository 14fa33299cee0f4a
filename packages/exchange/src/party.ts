import type { Party } from '@ulysses/native';

export function rankParty(index: number): Party {
  return { role: 'rank', index };
}

export function ownerParty(index: number): Party {
  return { role: 'owner', index };
}

/**
 * How an owner's rows travel: through one rank, straight to every rank, or through one until links to all are up. Results
 * are the same bits.
 */
export const ROUTES = ['auto', 'relay', 'direct'] as const;
export type RouteChoice = (typeof ROUTES)[number];

/** The rank that plays sequence owner `owner` towards the other ranks (route `relay`). */
export function relayOf(owner: number, cpSize: number): number {
  return owner % cpSize;
}

/** How a rank introduces itself to a peer's tensor plane, and the name of the link there. */
export function rankLinkName(rank: number, member: string): string {
  return `rank/${rank}/${encodeURIComponent(member)}`;
}

/** How a sequence owner introduces itself to a rank's tensor plane, and the name of the link there. */
export function ownerLinkName(owner: number, job: string, session: string): string {
  return `owner/${owner}/${encodeURIComponent(job)}/${encodeURIComponent(session)}`;
}
