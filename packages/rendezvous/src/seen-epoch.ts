/**
 * Highest epoch that is believed of a member, which no cluster reaches by itself: one above would leave no room to advance within
 * the 14 digits that Redis's scripts keep of a number.
 */
const MOST_BELIEVED = 10 ** 12;

/** What a member's word does to the epoch: nothing, if it cannot be true. */
export function seenEpoch(said: number): number {
  return said > MOST_BELIEVED ? 0 : said;
}
