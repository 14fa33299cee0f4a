import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import type { JoinRequest, Lease } from '@ulysses/rpc';
import { orAborted, type Logger } from '@ulysses/runtime';
import { monotonicClock, type Clock } from './clock.js';
import type { MembershipStore } from './membership-store.js';

export interface LeaseKeeperOptions {
  readonly store: MembershipStore;
  readonly request: JoinRequest;
  /** How long after the last successful renewal was sent the lease counts as held; default: the lease itself. */
  readonly graceMs?: number;
  /** The lease is gone: stop serving. Runs before anything is logged; must not throw. */
  readonly onLost: (error: UlyssesError) => void;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
}

/** A lease that is held now. */
interface Held {
  readonly lease: Lease;
  /** When the last successful join or renewal was sent. */
  sentAt: number;
  cancelRenewal: () => void;
  cancelGrace: () => void;
}

/** Longest that one call to the store may take. */
const CALL_MS = 5000;
/** Middle of the pause between attempts to join; the real one is 0.5 to 1.5 times this. */
const RETRY_MS = 200;

/**
 * A member's side of its lease: joins, renews every third of it, and says when it is lost.
 *
 * L1: time counts from when a renewal was *sent*: the store cannot have counted from earlier.
 * L2: a lease is lost when the store says so, or when the grace has passed; never because one renewal failed.
 * L3: when it is lost, `onLost` runs first and logging comes after: logging can block.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  #held: Held | null = null;
  /** The lease before this one: after a restart of the store it teaches the store our epoch, and may be given back. */
  #previous: Lease | null = null;
  #epoch = 0;
  #renewedAt: number;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#clock = options.clock ?? monotonicClock;
    this.#random = options.random ?? Math.random;
    this.#renewedAt = this.#clock.now();
  }

  /** The lease while it is held. */
  get lease(): Lease | null {
    return this.#held?.lease ?? null;
  }

  /** Since the last join or renewal that succeeded was sent, also after the lease was lost; at first since the start. */
  get ageMs(): number {
    return this.#clock.now() - this.#renewedAt;
  }

  /** The highest epoch that this member has seen. */
  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Learns of an epoch from elsewhere. While it holds a lease it renews at once: the answer says that it is part of that
   * epoch's set, which it may have to prove to a store that forgot.
   */
  sawEpoch(epoch: number): void {
    if (epoch <= this.#epoch) return;
    this.#epoch = epoch;
    if (this.#held !== null) this.#renewLater(this.#held, 0);
  }

  /**
   * Claims a rank, and keeps trying while all are taken or the store cannot be reached, until `signal` aborts. Also
   * for rejoining after `onLost`.
   */
  async join(signal: AbortSignal): Promise<Lease> {
    for (;;) {
      if (this.#held !== null) return this.#held.lease;
      const sentAt = this.#clock.now();
      try {
        const lease = await orAborted(this.#claim(signal), signal);
        this.#hold(lease, sentAt);
        return lease;
      } catch (thrown) {
        const error = toUlyssesError(thrown);
        // Certificates that were good for a lease before are being replaced.
        const renews = error.code === 'UNAUTHENTICATED' && this.#previous !== null;
        if (!signal.aborted && !canRetry(error) && !renews) throw error;
        await this.#pause(signal, error);
      }
    }
  }

  /** Stops renewing and leaves. A store that cannot be told will see the lease end. */
  async close(): Promise<void> {
    const held = this.#drop();
    if (held === null) return;
    const { store, request, logger } = this.#options;
    try {
      await store.leave(request.member, { deadlineMs: Math.min(CALL_MS, held.lease.leaseMs) });
    } catch (thrown) {
      const { code, message } = toUlyssesError(thrown);
      logger.debug({ member: request.member, code, reason: message }, 'leaving failed');
    }
  }

  async #claim(signal: AbortSignal): Promise<Lease> {
    const { store, request } = this.#options;
    const limits = { signal, deadlineMs: CALL_MS };
    const previous = this.#previous;
    if (previous !== null) {
      const { member } = request;
      const renewal = store.renew({ member, rank: previous.rank, epoch: this.#epoch }, limits);
      const renewed = await renewal.catch((thrown: unknown) => {
        const error = toUlyssesError(thrown);
        if (error.code === 'LEASE_LOST') return null;
        throw error;
      });
      if (renewed !== null) return { ...previous, epoch: renewed.epoch };
      this.#previous = null;
    }
    return store.join(request, limits);
  }

  #hold(lease: Lease, sentAt: number): void {
    this.#epoch = Math.max(this.#epoch, lease.epoch);
    const held: Held = { lease, sentAt, cancelRenewal: () => undefined, cancelGrace: () => undefined };
    this.#held = held;
    this.#renewedAt = sentAt;
    this.#armGrace(held);
    this.#renewLater(held, lease.leaseMs / 3);
  }

  #renewLater(held: Held, inMs: number): void {
    held.cancelRenewal();
    held.cancelRenewal = this.#clock.schedule(inMs, () => void this.#renew(held));
  }

  async #renew(held: Held): Promise<void> {
    const { store, request, logger } = this.#options;
    const { member } = request;
    const { rank, leaseMs } = held.lease;
    const sentAt = this.#clock.now();
    try {
      const limits = { deadlineMs: Math.min(CALL_MS, leaseMs / 3) };
      const { epoch } = await store.renew({ member, rank, epoch: this.#epoch }, limits);
      if (this.#held !== held) return;
      this.#epoch = Math.max(this.#epoch, epoch);
      held.sentAt = sentAt;
      this.#renewedAt = sentAt;
      this.#armGrace(held);
      this.#renewLater(held, leaseMs / 3);
    } catch (thrown) {
      if (this.#held !== held) return;
      const error = toUlyssesError(thrown);
      if (error.code === 'LEASE_LOST') {
        this.#lose(error);
        return;
      }
      this.#renewLater(held, leaseMs / 12);
      logger.debug({ member, rank, code: error.code, reason: error.message }, 'renewal failed');
    }
  }

  #armGrace(held: Held): void {
    const graceMs = this.#options.graceMs ?? held.lease.leaseMs;
    held.cancelGrace();
    held.cancelGrace = this.#clock.schedule(Math.max(0, held.sentAt + graceMs - this.#clock.now()), () => {
      const { member } = this.#options.request;
      const { rank } = held.lease;
      const message = `member ${member} could not renew its lease on rank ${rank} for ${graceMs} ms`;
      this.#lose(new UlyssesError('LEASE_LOST', message, { member, peer: `rank ${rank}` }));
    });
  }

  #lose(error: UlyssesError): void {
    const held = this.#drop();
    if (held === null) return;
    this.#options.onLost(error);
    const { rank, epoch } = held.lease;
    const { member } = this.#options.request;
    this.#options.logger.warn({ member, rank, epoch, code: error.code, reason: error.message }, 'lease lost');
  }

  #drop(): Held | null {
    const held = this.#held;
    if (held === null) return null;
    held.cancelRenewal();
    held.cancelGrace();
    this.#held = null;
    this.#previous = held.lease;
    return held;
  }

  /** Waits before the next attempt; when `signal` has aborted, throws its reason with what the last attempt met. */
  async #pause(signal: AbortSignal, last: UlyssesError): Promise<void> {
    let cancel = (): void => undefined;
    const pause = new Promise<void>((resolve) => {
      cancel = this.#clock.schedule(RETRY_MS * (0.5 + this.#random()), resolve);
    });
    try {
      await orAborted(pause, signal);
    } catch (thrown) {
      cancel();
      const { code, message } = toUlyssesError(thrown);
      throw new UlyssesError(
        code,
        `${message}; joining failed last with ${last.code}: ${last.message}`,
        {},
        last,
      );
    }
  }
}

function canRetry({ code }: UlyssesError): boolean {
  return code === 'OVERLOADED' || code === 'PEER_LOST' || code === 'DEADLINE';
}
