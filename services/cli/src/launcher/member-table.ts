import { hostname } from 'node:os';
import type { Membership } from '@ulysses/rpc';
import type { ClusterEvent, RankProcess } from './cluster-event.js';
import type { SupervisedRank } from './supervise-rank.js';

/** Knows which process is which member, and turns what happens to them into events. */
export class MemberTable {
  readonly #onEvent: (event: ClusterEvent) => void;
  readonly #pids = new Map<string, number>();
  #ranks: readonly RankProcess[] = [];
  /** The rank that each living member has, or had last: ranks change between epochs. */
  readonly #lastRank = new Map<string, number>();
  #named = 0;

  constructor(onEvent: (event: ClusterEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** The members now, in rank order. */
  get ranks(): readonly RankProcess[] {
    return this.#ranks;
  }

  /** A name that no process had before. */
  newName(): string {
    return `${hostname()}-${process.pid}-${this.#named++}`;
  }

  started({ member, pid }: SupervisedRank): void {
    this.#pids.set(member, pid);
  }

  joined({ member, pid }: SupervisedRank, replaces: string | null): void {
    if (replaces !== null) this.#onEvent({ event: 'rank-replaced', member, pid, replaces });
  }

  lost({ member, pid }: SupervisedRank, reason: string): void {
    const rank = this.#lastRank.get(member) ?? null;
    this.#pids.delete(member);
    this.#lastRank.delete(member);
    this.#onEvent({ event: 'rank-lost', rank, member, pid, reason });
  }

  update({ epoch, complete, members }: Membership): void {
    this.#ranks = members.map(({ rank, member }) => ({ rank, member, pid: this.#pids.get(member) ?? null }));
    for (const { rank, member, pid } of this.#ranks) if (pid !== null) this.#lastRank.set(member, rank);
    this.#onEvent({ event: 'epoch', epoch, complete, ranks: this.#ranks });
  }
}
