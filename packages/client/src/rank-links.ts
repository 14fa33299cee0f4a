import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import {
  ownerLinkName,
  rankLinkName,
  relayOf,
  type ExchangePlane,
  type RouteChoice,
} from '@ulysses/exchange';
import type { RankAddress } from '@ulysses/rpc';

export interface RankLinksOptions {
  readonly plane: ExchangePlane;
  readonly route: RouteChoice;
  readonly ownerIndex: number;
  readonly job: string;
  readonly session: string;
}

/** Longest that a rank may take to answer before `auto` stays with the relay. */
const REACH_MS = 2_000;
/** With more ranks `auto` stays with the relay: connections would grow as owners times ranks. */
const MOST_DIRECT_RANKS = 64;

/**
 * This owner's tensor links to ranks, and which route its next step takes.
 *
 * L1: a link is opened once, whoever asks first, and again only after it was lost.
 * L2: `auto` goes direct only while links to all ranks of the last step are up; it finds out beside the steps, not in them.
 */
export class RankLinks {
  readonly #options: RankLinksOptions;
  readonly #links = new Map<string, Promise<void>>();
  /** Names of the ranks last tried, so that those that cannot be reached are not dialled at every step. */
  #tried = '';
  #reached = false;

  constructor(options: RankLinksOptions) {
    this.#options = options;
  }

  /** Whether the next step goes direct. */
  get direct(): boolean {
    return this.#options.route === 'direct' || (this.#options.route === 'auto' && this.#reached);
  }

  /** Per rank, the link that its rows take: all the relay's, or each rank's own. */
  async open(ranks: readonly RankAddress[], direct: boolean, deadlineMs: number): Promise<string[]> {
    if (direct) return await this.#openAll(ranks, deadlineMs);
    const relay = ranks[relayOf(this.#options.ownerIndex, ranks.length)];
    if (relay === undefined) throw new UlyssesError('PLAN_INVALID', 'the plan has no ranks');
    const link = await this.#open(relay, deadlineMs);
    if (this.#options.route === 'auto') void this.#tryAll(ranks);
    return ranks.map(() => link);
  }

  lost(link: string): void {
    this.#links.delete(link);
    this.#reached = false;
    this.#tried = '';
  }

  async #openAll(ranks: readonly RankAddress[], deadlineMs: number): Promise<string[]> {
    if (this.#options.route === 'direct')
      return await Promise.all(ranks.map((rank) => this.#open(rank, deadlineMs)));
    try {
      const limitMs = Math.min(deadlineMs, REACH_MS);
      return await Promise.all(ranks.map((rank) => this.#open(rank, limitMs)));
    } catch (thrown) {
      this.#reached = false;
      this.#tried = namesOf(ranks);
      // The replay takes the relay.
      const { message, details } = toUlyssesError(thrown);
      throw new UlyssesError('PEER_LOST', `not every rank can be reached: ${message}`, details, thrown);
    }
  }

  async #tryAll(ranks: readonly RankAddress[]): Promise<void> {
    const names = namesOf(ranks);
    if (names === this.#tried || ranks.length > MOST_DIRECT_RANKS) return;
    this.#tried = names;
    const opened = await Promise.allSettled(ranks.map((rank) => this.#open(rank, REACH_MS)));
    this.#reached = names === this.#tried && opened.every(({ status }) => status === 'fulfilled');
  }

  async #open({ rank, member, tensorAddress }: RankAddress, deadlineMs: number): Promise<string> {
    const { plane, ownerIndex, job, session } = this.#options;
    const name = rankLinkName(rank, member);
    let connecting = this.#links.get(name);
    if (connecting === undefined) {
      const party = ownerLinkName(ownerIndex, job, session);
      connecting = plane
        .connectOwner(name, tensorAddress, party, { deadlineMs })
        .catch((thrown: unknown) => Promise.reject(unreached(rank, member, tensorAddress, thrown)));
      connecting.catch(() => this.#links.delete(name));
      this.#links.set(name, connecting);
    }
    await connecting;
    return name;
  }
}

/** Names the rank that an error is about: the plane knows links. */
function unreached(rank: number, member: string, tensorAddress: string, thrown: unknown): UlyssesError {
  const { code, message, details } = toUlyssesError(thrown);
  return new UlyssesError(
    code,
    `rank ${rank} (member ${member}): ${message}`,
    {
      field: 'tensor_address',
      value: tensorAddress,
      expected:
        code === 'CONFIG'
          ? 'a loopback address, TLS, or insecure'
          : 'an address at which the rank answers in time',
      peer: `rank ${rank}`,
      member,
      ...details,
    },
    thrown,
  );
}

function namesOf(ranks: readonly RankAddress[]): string {
  return ranks.map(({ rank, member }) => rankLinkName(rank, member)).join(' ');
}
