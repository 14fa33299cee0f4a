import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import type { CallOptions } from '@ulysses/rpc';
import { orAborted, type Logger } from '@ulysses/runtime';
import { monotonicClock, type Clock } from '../clock.js';
import type { RedisConnection } from './redis-connection.js';
import { LEAD } from './scripts.js';

/** Who leads a cluster's coordinators. */
export interface Leader {
  /** `host:port` of its control port. */
  readonly address: string;
  /** Counts leaders; only grows. */
  readonly term: number;
}

export interface LeaderLeaseOptions {
  readonly connection: RedisConnection;
  readonly cluster: string;
  /** Unique among coordinator processes. */
  readonly id: string;
  /** What trainers dial. */
  readonly address: string;
  readonly leaseMs: number;
  /** From now on this process leads. */
  readonly onLead: (term: number) => void;
  /** It does no more: stop at once. Runs before anything is logged; must not throw. */
  readonly onLost: (error: UlyssesError) => void;
  readonly logger: Logger;
  readonly clock?: Clock;
}

interface LeadReply extends Leader {
  readonly id: string;
  readonly holds: boolean;
}

const KEEP_MS = 3_600_000;

/** The leader now, or null; asks Redis. */
export async function findLeader(
  connection: RedisConnection,
  cluster: string,
  options?: CallOptions,
): Promise<Leader | null> {
  const ask = { id: '', leading: false, claim: false, term: 0, leaseMs: 0, keepMs: KEEP_MS };
  const { address, term, holds } = await lead(connection, cluster, ask, options);
  return holds ? { address, term } : null;
}

/**
 * Leads while it can renew, and waits while another does.
 *
 * D1: time counts from when a renewal was sent, so a leader stops before Redis lets another begin.
 * D2: who knew of a leader waits for the length of a lease after it last heard of it, even when Redis, which may have lost
 *     its data, says that nobody leads. A leader that gave up is another matter: it is followed at once.
 */
export class LeaderLease {
  readonly #options: LeaderLeaseOptions;
  readonly #clock: Clock;
  #term = 0;
  #leading = false;
  #leader: Leader | null = null;
  #heardAt = -Infinity;
  #renewedAt = -Infinity;
  #cancelEnd = (): void => undefined;

  constructor(options: LeaderLeaseOptions) {
    this.#options = options;
    this.#clock = options.clock ?? monotonicClock;
  }

  get leading(): boolean {
    return this.#leading;
  }

  /** The newest term that this process has heard of. */
  get term(): number {
    return this.#term;
  }

  /** Since the last renewal that succeeded was sent; null when it does not lead. */
  get ageMs(): number | null {
    return this.#leading ? this.#clock.now() - this.#renewedAt : null;
  }

  /** Who led when this process last asked. */
  get leader(): Leader | null {
    return this.#leader;
  }

  /**
   * Learns of a term from whoever obeys it. A holder of an older one leads no more: Redis forgot a later leader. It may
   * claim again, beyond that term.
   */
  sawTerm(term: number): void {
    if (term <= this.#term) return;
    this.#term = term;
    this.#lose(`a rank obeys a leader of term ${term}`);
  }

  /** Claims and renews until `signal` aborts, then gives the lease up. */
  async run(signal: AbortSignal): Promise<void> {
    const { leaseMs, logger } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#ask(signal);
      } catch (thrown) {
        const { code, message } = toUlyssesError(thrown);
        logger.debug({ code, reason: message }, 'leading could not be renewed');
      }
      await this.#pause(leaseMs / 3, signal);
    }
    this.#cancelEnd();
    if (!this.#leading) return;
    this.#leading = false;
    await this.#call({ leading: true, claim: false, resign: true }, { deadlineMs: leaseMs / 3 }).catch(
      () => undefined,
    );
  }

  async #ask(signal: AbortSignal): Promise<void> {
    const { id, leaseMs } = this.#options;
    const sentAt = this.#clock.now();
    const claim = this.#leading || sentAt - this.#heardAt >= leaseMs;
    const reply = await this.#call(
      { leading: this.#leading, claim, stands: true },
      { signal, deadlineMs: leaseMs / 3 },
    );
    this.#term = Math.max(this.#term, reply.term);
    if (reply.id === id && reply.holds) {
      this.#leader = null;
      this.#hold(sentAt);
      return;
    }
    if (reply.holds) {
      this.#leader = { address: reply.address, term: reply.term };
      this.#heardAt = this.#clock.now();
    }
    if (this.#leading) this.#lose(`coordinator ${reply.address} leads in term ${reply.term}`);
  }

  #hold(sentAt: number): void {
    const { leaseMs, onLead, logger, address } = this.#options;
    this.#renewedAt = sentAt;
    this.#cancelEnd();
    this.#cancelEnd = this.#clock.schedule(Math.max(0, sentAt + leaseMs - this.#clock.now()), () => {
      this.#lose(`the lease could not be renewed for ${leaseMs} ms`);
    });
    if (this.#leading) return;
    this.#leading = true;
    logger.info({ address, term: this.#term }, 'leading');
    onLead(this.#term);
  }

  #lose(reason: string): void {
    if (!this.#leading) return;
    this.#leading = false;
    this.#cancelEnd();
    this.#options.onLost(new UlyssesError('LEASE_LOST', `this coordinator leads no more: ${reason}`));
    this.#options.logger.warn({ term: this.#term, reason }, 'leading no more');
  }

  async #call(
    how: { leading: boolean; claim: boolean; stands?: boolean; resign?: boolean },
    options: CallOptions,
  ): Promise<LeadReply> {
    const { connection, cluster, id, address, leaseMs } = this.#options;
    const ask = { id, address, leaseMs, term: this.#term, keepMs: KEEP_MS, ...how };
    return await lead(connection, cluster, ask, options);
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    let cancel = (): void => undefined;
    const pause = new Promise<void>((resolve) => {
      cancel = this.#clock.schedule(ms, resolve);
    });
    await orAborted(pause, signal).catch(() => undefined);
    cancel();
  }
}

async function lead(
  connection: RedisConnection,
  cluster: string,
  ask: object,
  options?: CallOptions,
): Promise<LeadReply> {
  return (await connection.run(LEAD, `ulysses:{${cluster}}:coordinator`, ask, options)) as LeadReply;
}
