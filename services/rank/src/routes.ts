import { ownerLinkName, ownerParty, rankParty, relayOf } from '@ulysses/exchange';
import type { Route } from '@ulysses/native';
import type { Prepare } from '@ulysses/rpc';
import type { EpochSeat } from './seat.js';

/** Where rows of a step leave this rank: to its peers, and to each owner over the link that it dialled, here or to its relay. */
export function routes({ step, ownerCount, directOwners }: Prepare, { rank, peerLinks }: EpochSeat): Route[] {
  const found: Route[] = [];
  peerLinks.forEach((link, peer) => {
    if (link !== null) found.push({ destination: rankParty(peer), link });
  });
  for (let owner = 0; owner < ownerCount; owner++) {
    const relay = relayOf(owner, peerLinks.length);
    const dialsHere = relay === rank || directOwners.includes(owner);
    const link = dialsHere ? ownerLinkName(owner, step.job, step.session) : peerLinks[relay];
    if (link !== null && link !== undefined) found.push({ destination: ownerParty(owner), link });
  }
  return found;
}
