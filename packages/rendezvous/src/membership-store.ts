import type { CallOptions, JoinRequest, Lease, Membership, RenewRequest, Renewed } from '@ulysses/rpc';

/**
 * Who is a member, by timed leases, and the epoch. Every adapter passes `rendezvous-contract.ts`.
 *
 * M1: a rank has at most one holder; a member has at most one rank.
 * M2: the epoch never goes back, and grows each time the set of members becomes complete.
 * M3: a lease that is not renewed in time ends, and its rank is free.
 */
export interface MembershipStore {
  /**
   * Claims the lowest free rank. Joining again as the same member at the same addresses returns the lease it has.
   * Throws OVERLOADED when all ranks are taken, UNSUPPORTED for another protocol version.
   */
  join(request: JoinRequest, options?: CallOptions): Promise<Lease>;
  /**
   * Extends a lease; one that ended is given back while nobody else has claimed its rank. Learns the caller's epoch
   * even when it refuses. Throws LEASE_LOST.
   */
  renew(request: RenewRequest, options?: CallOptions): Promise<Renewed>;
  /** Ends a member's own lease; fine when it has none. */
  leave(member: string, options?: CallOptions): Promise<void>;
  /** Ends another member's lease, for a launcher that reaped its process; fine when it has none. */
  revoke(member: string, options?: CallOptions): Promise<void>;
  /** The membership now, then every change; a slow reader gets the newest. Throws when `signal` aborts. */
  watch(signal: AbortSignal): AsyncIterable<Membership>;
}

/** How long a member has not renewed. */
export interface LeaseAge {
  readonly member: string;
  readonly rank: number;
  readonly ageMs: number;
}

/** What a coordinator has: a store that it may also steer. */
export interface ClusterStore extends MembershipStore {
  /** The newest membership that this process has heard of. */
  readonly membership: Membership;
  /** Leases in rank order, for status reports. */
  leaseAges(options?: CallOptions): Promise<readonly LeaseAge[]>;
  /** Changes how many ranks make a complete set. Members on ranks beyond it lose their leases. */
  setCpSize(cpSize: number, options?: CallOptions): Promise<void>;
  close(): void;
}
