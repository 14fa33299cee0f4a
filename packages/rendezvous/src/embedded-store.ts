import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import {
  PROTOCOL_VERSION,
  type JoinRequest,
  type Lease,
  type Membership,
  type RenewRequest,
  type Renewed,
} from '@ulysses/rpc';
import { Deferred } from '@ulysses/runtime';
import { monotonicClock, type Clock } from './clock.js';
import type { ClusterStore, LeaseAge } from './membership-store.js';
import { seenEpoch } from './seen-epoch.js';

export interface EmbeddedStoreOptions {
  /** Ranks of a complete set. */
  readonly cpSize: number;
  /** How long a lease lives without renewal. */
  readonly leaseMs: number;
  readonly clock?: Clock;
}

/** A rank that is taken, or was: a seat whose lease expired is free, but its holder may have it back. */
interface Seat {
  readonly member: string;
  readonly controlAddress: string;
  readonly tensorAddress: string;
  renewedAt: number;
  expired: boolean;
}

/**
 * The store in the memory of one process.
 *
 * It keeps M1 to M3 of the port, and:
 * B1: every change of who holds which rank is announced before the call that made it returns.
 * B2: a membership that is announced as complete has an epoch that no other announced one has.
 */
export class EmbeddedStore implements ClusterStore {
  readonly #leaseMs: number;
  readonly #clock: Clock;
  #seats: (Seat | null)[];
  #epoch = 0;
  #membership: Membership;
  #changed = new Deferred();
  #cancelSweep = (): void => undefined;

  constructor({ cpSize, leaseMs, clock = monotonicClock }: EmbeddedStoreOptions) {
    this.#seats = new Array<Seat | null>(cpSize).fill(null);
    this.#leaseMs = leaseMs;
    this.#clock = clock;
    this.#membership = { epoch: 0, cpSize, complete: false, members: [] };
  }

  get membership(): Membership {
    return this.#membership;
  }

  async join(request: JoinRequest): Promise<Lease> {
    const { member, controlAddress, tensorAddress, protocolVersion } = request;
    if (protocolVersion !== PROTOCOL_VERSION) {
      throw fieldError('UNSUPPORTED', 'protocol_version', protocolVersion, PROTOCOL_VERSION, { member });
    }
    this.#sweep();
    const held = this.#seatOf(member);
    const same = held?.seat.controlAddress === controlAddress && held.seat.tensorAddress === tensorAddress;
    if (held !== null && !held.seat.expired && same) return this.#renewed(held.rank, held.seat);
    if (held !== null) this.#seats[held.rank] = null;
    const rank = this.#seats.findIndex((seat) => seat === null || seat.expired);
    if (rank === -1) {
      const cpSize = this.#seats.length;
      throw new UlyssesError('OVERLOADED', `all ${cpSize} ranks are taken`, {
        field: 'cp_size',
        value: cpSize,
        expected: 'a rank that nobody holds',
      });
    }
    const seat: Seat = {
      member,
      controlAddress,
      tensorAddress,
      renewedAt: this.#clock.now(),
      expired: false,
    };
    this.#seats[rank] = seat;
    this.#announce();
    return this.#renewed(rank, seat);
  }

  async renew({ member, rank, epoch }: RenewRequest): Promise<Renewed> {
    this.#sweep();
    const held = this.#seatOf(member);
    const owns = held !== null && held.rank === rank;
    const returns = owns && held.seat.expired;
    if (owns) {
      held.seat.expired = false;
      held.seat.renewedAt = this.#clock.now();
    }
    const seen = seenEpoch(epoch);
    const ahead = seen > this.#epoch;
    if (ahead) this.#epoch = seen;
    if (returns || ahead) this.#announce();
    if (!owns) {
      const holder = this.#taken().find((taken) => taken.rank === rank);
      const reason = holder === undefined ? 'nobody holds it' : `member ${holder.seat.member} holds it`;
      throw new UlyssesError('LEASE_LOST', `member ${member} has no lease on rank ${rank}: ${reason}`, {
        field: 'rank',
        value: rank,
        expected: 'a rank that this member holds',
        member,
        peer: `rank ${rank}`,
      });
    }
    this.#sweepLater();
    return { epoch: this.#epoch };
  }

  async leave(member: string): Promise<void> {
    this.revokeNow(member);
  }

  async revoke(member: string): Promise<void> {
    this.revokeNow(member);
  }

  /** `revoke` without waiting, for the process that holds the store. */
  revokeNow(member: string): void {
    this.#sweep();
    const held = this.#seatOf(member);
    if (held === null) return;
    this.#seats[held.rank] = null;
    if (!held.seat.expired) this.#announce();
  }

  async setCpSize(cpSize: number): Promise<void> {
    this.#sweep();
    if (cpSize === this.#seats.length) return;
    this.#seats = Array.from({ length: cpSize }, (_, rank) => this.#seats[rank] ?? null);
    this.#announce();
  }

  async *watch(signal: AbortSignal): AsyncGenerator<Membership, void, undefined> {
    let seen: Membership | null = null;
    for (;;) {
      if (signal.aborted) throw toUlyssesError(signal.reason);
      const changed = this.#changed;
      if (seen !== this.#membership) {
        seen = this.#membership;
        yield seen;
        continue;
      }
      await changed.orAborted(signal).catch(() => undefined);
    }
  }

  async leaseAges(): Promise<readonly LeaseAge[]> {
    const now = this.#clock.now();
    return this.#taken().map(({ rank, seat }) => ({
      member: seat.member,
      rank,
      ageMs: now - seat.renewedAt,
    }));
  }

  /** Stops the timer that ends leases. */
  close(): void {
    this.#cancelSweep();
  }

  #renewed(rank: number, seat: Seat): Lease {
    seat.renewedAt = this.#clock.now();
    this.#sweepLater();
    return { rank, epoch: this.#epoch, leaseMs: this.#leaseMs };
  }

  #seatOf(member: string): { rank: number; seat: Seat } | null {
    for (const [rank, seat] of this.#seats.entries()) if (seat?.member === member) return { rank, seat };
    return null;
  }

  #taken(): { rank: number; seat: Seat }[] {
    return this.#seats.flatMap((seat, rank) => (seat === null || seat.expired ? [] : [{ rank, seat }]));
  }

  /** Ends the leases whose time has come, and looks again when the next one does. */
  #sweep(): void {
    const now = this.#clock.now();
    const late = this.#taken().filter(({ seat }) => now - seat.renewedAt >= this.#leaseMs);
    for (const { seat } of late) seat.expired = true;
    if (late.length > 0) this.#announce();
    this.#sweepLater();
  }

  #sweepLater(): void {
    this.#cancelSweep();
    const renewals = this.#taken().map(({ seat }) => seat.renewedAt);
    if (renewals.length === 0) return;
    const inMs = Math.min(...renewals) + this.#leaseMs - this.#clock.now();
    this.#cancelSweep = this.#clock.schedule(Math.max(0, inMs), () => {
      this.#sweep();
    });
  }

  /** Builds the membership anew and tells watchers; a complete one gets a new epoch (M2, B2). */
  #announce(): void {
    const members = this.#taken().map(({ rank, seat: { member, controlAddress, tensorAddress } }) => {
      return { rank, member, controlAddress, tensorAddress };
    });
    const cpSize = this.#seats.length;
    const complete = members.length === cpSize;
    if (complete) this.#epoch++;
    this.#membership = { epoch: this.#epoch, cpSize, complete, members };
    const changed = this.#changed;
    this.#changed = new Deferred();
    changed.resolve();
  }
}
