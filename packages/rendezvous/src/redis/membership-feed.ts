import { toUlyssesError } from '@ulysses/errors';
import type { Membership } from '@ulysses/rpc';
import { Deferred } from '@ulysses/runtime';
import { isRecovering, membershipOf, nextChangeMs, type StoreReply } from './stored-membership.js';

export interface MembershipFeedOptions {
  /** Asks Redis; its answer also comes through `offer`. */
  readonly read: (signal: AbortSignal) => Promise<void>;
  /** Calls back when something may have changed; returns how to stop. */
  readonly subscribe: (onChange: () => void) => () => void;
}

/** Longest time between two looks: a message may be lost with the connection that would have brought it. */
const LOOK_MS = 2000;
/** Pause after a look that failed, and the shortest one between two looks. */
const RETRY_MS = 250;
const LEAST_PAUSE_MS = 10;

/**
 * The membership in Redis as this process sees it, for any number of watchers.
 *
 * It looks when Redis says that something changed, when a lease would end, and otherwise every two seconds; as long as somebody
 * watches, and with a connection of its own, which a coordinator that leads no more has no use for.
 * W1: while Redis cannot be reached, and while holders that it forgot may return, the last membership stands.
 */
export class MembershipFeed {
  readonly #options: MembershipFeedOptions;
  #latest: StoreReply | null = null;
  #membership: Membership | null = null;
  #changed = new Deferred();
  #woken = new Deferred();
  #watchers = 0;
  /** Ends looking; null while nobody watches. */
  #following: AbortController | null = null;
  #closed = false;

  constructor(options: MembershipFeedOptions) {
    this.#options = options;
  }

  get latest(): StoreReply | null {
    return this.#latest;
  }

  get membership(): Membership | null {
    return this.#membership;
  }

  /** Takes note of any answer; replies of one connection come in order, so an older version is a late look. */
  offer(reply: StoreReply): void {
    const before = this.#latest?.state;
    if (before?.lineage === reply.state.lineage && before.version > reply.state.version) return;
    this.#latest = reply;
    if (this.#membership !== null && isRecovering(reply)) return;
    const membership = membershipOf(reply.state);
    if (JSON.stringify(membership) === JSON.stringify(this.#membership)) return;
    this.#membership = membership;
    const changed = this.#changed;
    this.#changed = new Deferred();
    changed.resolve();
  }

  async *watch(signal: AbortSignal): AsyncGenerator<Membership, void, undefined> {
    this.#watchers++;
    if (this.#following === null && !this.#closed) {
      this.#following = new AbortController();
      void this.#follow(this.#following.signal);
    }
    try {
      await this.#look(signal);
      let seen: Membership | null = null;
      for (;;) {
        if (signal.aborted) throw toUlyssesError(signal.reason);
        const changed = this.#changed;
        if (seen !== this.#membership && this.#membership !== null) {
          seen = this.#membership;
          yield seen;
          continue;
        }
        await changed.orAborted(signal).catch(() => undefined);
      }
    } finally {
      if (--this.#watchers === 0) this.#stopFollowing();
    }
  }

  close(): void {
    this.#closed = true;
    this.#stopFollowing();
  }

  #stopFollowing(): void {
    this.#following?.abort();
    this.#following = null;
    this.#woken.resolve();
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const unsubscribe = this.#options.subscribe(() => {
      this.#woken.resolve();
    });
    for (;;) {
      this.#woken = new Deferred();
      const succeeded = await this.#look(signal);
      if (signal.aborted) break;
      const inMs = this.#latest === null ? LOOK_MS : nextChangeMs(this.#latest);
      await this.#pause(succeeded ? Math.max(LEAST_PAUSE_MS, Math.min(inMs, LOOK_MS)) : RETRY_MS);
    }
    unsubscribe();
  }

  /** False when Redis did not answer. */
  async #look(signal: AbortSignal): Promise<boolean> {
    try {
      await this.#options.read(signal);
      return true;
    } catch {
      return false;
    }
  }

  async #pause(ms: number): Promise<void> {
    const woken = this.#woken;
    const timer = setTimeout(() => {
      woken.resolve();
    }, ms);
    timer.unref();
    await woken.promise;
    clearTimeout(timer);
  }
}
