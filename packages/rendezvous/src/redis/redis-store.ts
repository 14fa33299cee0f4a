import { randomUUID } from 'node:crypto';
import { UlyssesError, fieldError } from '@ulysses/errors';
import {
  PROTOCOL_VERSION,
  type CallOptions,
  type JoinRequest,
  type Lease,
  type Membership,
  type RenewRequest,
  type Renewed,
} from '@ulysses/rpc';
import type { ClusterStore, LeaseAge } from '../membership-store.js';
import { MembershipFeed } from './membership-feed.js';
import type { RedisConnection, Script } from './redis-connection.js';
import { SCRIPTS } from './scripts.js';
import { membershipOf, parseReply, type StoreReply, type StoredMembership } from './stored-membership.js';
import { seenEpoch } from '../seen-epoch.js';

export interface RedisStoreOptions {
  /** From now on the store's to close. */
  readonly connection: RedisConnection;
  /** The membership namespace: clusters of other names in the same Redis are never met. */
  readonly cluster: string;
}

/** What this process knows of Redis's history; see S2 in scripts/state.lua. */
interface Seen {
  readonly lineage: string;
  readonly version: number;
  readonly epoch: number;
  /** Null before anybody has said it. */
  readonly cpSize: number | null;
  readonly leaseMs: number | null;
}

const NOTHING_SEEN = { epoch: 0, cpSize: null, leaseMs: null };

/** A lease that was granted through this store, for proving it to a Redis that forgot it. */
interface Claim {
  readonly request: JoinRequest;
  readonly seen: Seen;
  /** The epoch of the complete set that it is part of, -1 for none. */
  readonly epoch: number;
}

/** A cluster's key goes this long after nobody has written it. */
const KEEP_MS = 3_600_000;

/**
 * The store in Redis, shared by any number of processes. Persistence is not needed: holders prove their leases to a
 * Redis that lost them.
 */
export class RedisStore implements ClusterStore {
  readonly #connection: RedisConnection;
  readonly #key: string;
  readonly #feed: MembershipFeed;
  readonly #claims = new Map<string, Claim>();
  #seen: Seen | null = null;

  constructor({ connection, cluster }: RedisStoreOptions) {
    this.#connection = connection;
    this.#key = `ulysses:{${cluster}}:membership`;
    this.#feed = new MembershipFeed({
      read: async (signal) => {
        await this.#run(SCRIPTS.read, {}, { signal });
      },
      subscribe: (onChange) => connection.subscribe(this.#key, onChange),
    });
  }

  /** The newest membership that this process has heard of; before that an empty one. */
  get membership(): Membership {
    return this.#feed.membership ?? { epoch: 0, cpSize: 0, complete: false, members: [] };
  }

  /** Says how long leases are, and how many ranks make a complete set unless that was said before. */
  async configure(settings: { cpSize: number; leaseMs: number }, options?: CallOptions): Promise<void> {
    const { refusal, state } = await this.#run(SCRIPTS.configure, { ...settings, resize: false }, options);
    if (refusal !== undefined) throw otherVersion(PROTOCOL_VERSION, state, 'coordinator');
  }

  async setCpSize(cpSize: number, options?: CallOptions): Promise<void> {
    if (this.#seen === null) await this.#run(SCRIPTS.read, {}, options);
    const leaseMs = this.#seen?.leaseMs ?? null;
    if (leaseMs === null) throw this.#unconfigured();
    await this.#run(SCRIPTS.configure, { cpSize, leaseMs, resize: true }, options);
  }

  async join(request: JoinRequest, options?: CallOptions): Promise<Lease> {
    const reply = await this.#run(SCRIPTS.join, request, options);
    const { state, rank } = reply;
    if (rank === undefined) throw this.#refusedJoin(reply, request);
    this.#granted(request, reply);
    return { rank, epoch: state.epoch, leaseMs: state.leaseMs ?? 0 };
  }

  async renew({ member, rank, epoch }: RenewRequest, options?: CallOptions): Promise<Renewed> {
    const claim = this.#claims.get(member);
    const proof =
      claim === undefined
        ? {}
        : {
            lineage: claim.seen.lineage,
            version: claim.seen.version,
            claim: {
              controlAddress: claim.request.controlAddress,
              tensorAddress: claim.request.tensorAddress,
              epoch: claim.epoch,
              cpSize: claim.seen.cpSize,
            },
          };
    const reply = await this.#run(SCRIPTS.renew, { member, rank, ...proof }, options, seenEpoch(epoch));
    if (reply.refusal !== undefined) {
      this.#claims.delete(member);
      const reason = reply.holder === undefined ? 'nobody holds it' : `member ${reply.holder} holds it`;
      throw new UlyssesError('LEASE_LOST', `member ${member} has no lease on rank ${rank}: ${reason}`, {
        field: 'rank',
        value: rank,
        expected: 'a rank that this member holds',
        member,
        peer: `rank ${rank}`,
      });
    }
    if (claim !== undefined) this.#granted(claim.request, reply);
    return { epoch: reply.state.epoch };
  }

  async leave(member: string, options?: CallOptions): Promise<void> {
    await this.#run(SCRIPTS.release, { member }, options);
    this.#claims.delete(member);
  }

  async revoke(member: string, options?: CallOptions): Promise<void> {
    await this.leave(member, options);
  }

  watch(signal: AbortSignal): AsyncIterable<Membership> {
    return this.#feed.watch(signal);
  }

  async leaseAges(options?: CallOptions): Promise<readonly LeaseAge[]> {
    const { state, nowMs } = await this.#run(SCRIPTS.read, {}, options);
    return membershipOf(state).members.map(({ rank, member }) => {
      const untilMs = state.seats[String(rank)]?.untilMs ?? nowMs;
      return { rank, member, ageMs: Math.max(0, nowMs + (state.leaseMs ?? 0) - untilMs) };
    });
  }

  /** Stops watching and closes the connection. */
  close(): void {
    this.#feed.close();
    this.#connection.close();
  }

  async #run(script: Script, fields: object, options?: CallOptions, epoch = 0): Promise<StoreReply> {
    const before = this.#seen ?? NOTHING_SEEN;
    const { cpSize: knownCpSize, leaseMs: knownLeaseMs, epoch: seenEpoch, ...history } = before;
    const known = knownCpSize === null ? {} : { knownCpSize, knownLeaseMs };
    const argument = {
      ...history,
      ...known,
      protocolVersion: PROTOCOL_VERSION,
      ...fields,
      epoch: Math.max(seenEpoch, epoch),
      fresh: randomUUID(),
      keepMs: KEEP_MS,
    };
    const reply = parseReply(await this.#connection.run(script, this.#key, argument, options));
    const { state } = reply;
    this.#seen = {
      lineage: state.lineage,
      version: state.version,
      epoch: Math.max(this.#seen?.epoch ?? 0, state.epoch),
      cpSize: state.cpSize ?? knownCpSize,
      leaseMs: state.leaseMs ?? knownLeaseMs,
    };
    this.#feed.offer(reply);
    return reply;
  }

  #granted(request: JoinRequest, { state, rank }: StoreReply): void {
    const { lineage, version, epoch, cpSize = null, leaseMs = null } = state;
    const seen = { lineage, version, epoch, cpSize, leaseMs };
    this.#claims.set(request.member, { request, seen, epoch: state.seats[String(rank)]?.epoch ?? -1 });
  }

  #refusedJoin({ refusal, state }: StoreReply, { member, protocolVersion }: JoinRequest): UlyssesError {
    const { cpSize } = state;
    switch (refusal) {
      case 'VERSION':
        return otherVersion(protocolVersion, state, member);
      case 'FULL':
        return new UlyssesError('OVERLOADED', `all ${cpSize ?? 0} ranks are taken`, {
          field: 'cp_size',
          value: cpSize,
          expected: 'a rank that nobody holds',
        });
      case 'RECOVERING':
        return new UlyssesError(
          'OVERLOADED',
          'Redis lost its data; for the length of a lease only members from before may return',
          { field: 'member', value: member, expected: 'one that held a lease before Redis lost its data' },
        );
      default:
        return this.#unconfigured();
    }
  }

  #unconfigured(): UlyssesError {
    return new UlyssesError('PEER_LOST', `no coordinator has said how many ranks ${this.#key} has`, {
      field: 'cp_size',
      value: 'unknown',
      expected: 'the number of ranks, from a coordinator of this cluster',
      peer: 'coordinator',
    });
  }
}

function otherVersion(ours: string, { protocolVersion }: StoredMembership, member: string): UlyssesError {
  const expected = `${String(protocolVersion)}, as the members of this cluster speak`;
  return fieldError('UNSUPPORTED', 'protocol_version', ours, expected, { member });
}
