import { UlyssesError, fieldError, toUlyssesError, type ErrorDetails } from '@ulysses/errors';
import type { Membership, RankAddress, RankClient, RankCommand, StepKey, TermedCommand } from '@ulysses/rpc';
import { Deferred, deadlineSignal, delay, type ConnectionOptions, type Logger } from '@ulysses/runtime';
import { FleetStep } from './fleet-step.js';
import { RankLink } from './rank-link.js';

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 1000;

/** An epoch in which every rank is connected to every other. */
export interface ReadyEpoch {
  readonly epoch: number;
  readonly ranks: readonly RankAddress[];
}

export interface FleetOptions {
  readonly logger: Logger;
  /** Of the leadership; on every command. */
  readonly term: number;
  /** To the ranks. */
  readonly connections: ConnectionOptions;
  /** How long a rank may take to connect to its peers before the epoch is tried again. */
  readonly enterTimeoutMs: number;
  /** How long the next epoch waits for the steps of one whose ranks all stay. */
  readonly drainMs: number;
  /** A rank wants to leave: end its lease when its steps are through. */
  readonly onLeaving: (rank: RankAddress) => void;
  /** A rank obeys a later leader. */
  readonly onDeposed: (term: number) => void;
}

/** How long the watch may take to say what a change did. */
const UPDATE_MS = 1_000;

/**
 * The ranks as the coordinator sees them: one command stream to each, and the epoch that all of them entered.
 *
 * F1: steps run only in a ready epoch; it ends when a rank is lost or the membership changes, and with it its steps.
 * F2: a planned change first lets running steps end, up to a deadline, and no new one begin; loss ends them at once.
 * F3: the first cause of a loss is the rank whose own stream ended or whose lease went, not the rank that noticed.
 */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #links = new Map<string, RankLink>();
  readonly #steps = new Set<FleetStep>();
  #membership: Membership | null = null;
  #ready: ReadyEpoch | null = null;
  #whenReady = new Deferred<ReadyEpoch>();
  /** Why the members of now can run no step however long one waits. */
  #unservable: UlyssesError | null = null;
  #entering: AbortController | null = null;
  /** While changes are planned, steps wait here. */
  #gate: Deferred | null = null;
  #changes = 0;
  #whenIdle = new Deferred();
  #updated = new Deferred();
  readonly #leavers = new Map<string, Deferred>();

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  get membership(): Membership | null {
    return this.#membership;
  }

  get readyEpoch(): ReadyEpoch | null {
    return this.#ready;
  }

  /** The epoch to run a step in; waits for a complete membership. */
  async ready(signal: AbortSignal): Promise<ReadyEpoch> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#gate !== null) await this.#gate.orAborted(signal);
      else if (this.#ready !== null) return this.#ready;
      else if (this.#unservable !== null) throw this.#unservable;
      else await this.#whenReady.orAborted(signal);
    }
  }

  /** Until the membership changes, steps end with `cause` and do not wait. */
  cannotServe(cause: UlyssesError): void {
    this.#unservable = cause;
    this.#whenReady.reject(cause);
    this.#whenReady = new Deferred<ReadyEpoch>();
  }

  /** Runs `apply`, which changes the membership, between two steps (F2). */
  async change(drainMs: number, apply: () => Promise<void>): Promise<void> {
    this.#gate ??= new Deferred();
    this.#changes++;
    try {
      await this.#idle(drainMs);
      const updated = this.#updated;
      await apply();
      const limit = deadlineSignal(UPDATE_MS);
      await updated.orAborted(limit.signal).catch(() => undefined);
      limit.release();
    } finally {
      this.#changes--;
      if (this.#changes === 0) {
        this.#gate.resolve();
        this.#gate = null;
      }
    }
  }

  /** Tells a rank to end; resolves when it is no member any more. */
  async askToLeave({ rank, member }: RankAddress, signal: AbortSignal): Promise<void> {
    const link = this.#links.get(member);
    if (link === undefined) {
      throw new UlyssesError('PEER_LOST', `rank ${rank} (member ${member}) is not connected`, {
        peer: `rank ${rank}`,
        member,
      });
    }
    const left = this.#leavers.get(member) ?? new Deferred();
    this.#leavers.set(member, left);
    link.send(this.#termed({ kind: 'leave' }));
    await left.orAborted(signal);
  }

  openStep(key: StepKey, epoch: ReadyEpoch): FleetStep {
    const step = new FleetStep(key, epoch.ranks, {
      broadcast: (command) => {
        const termed = this.#termed(command);
        for (const rank of epoch.ranks) this.#linkOf(rank)?.send(termed);
      },
      onClose: () => {
        this.#steps.delete(step);
        if (this.#steps.size === 0) this.#whenIdle.resolve();
      },
    });
    this.#steps.add(step);
    if (this.#ready?.epoch !== epoch.epoch) {
      const expected = 'one that is ready; this one ended before the step was prepared';
      step.fail(fieldError('STALE_EPOCH', 'epoch', epoch.epoch, expected));
    }
    return step;
  }

  /** The control connection to a member, for its status; null when there is none. */
  clientOf({ member }: RankAddress): RankClient | null {
    return this.#links.get(member)?.client ?? null;
  }

  release(step: StepKey): void {
    const release = this.#termed({ kind: 'release', step });
    for (const link of this.#links.values()) link.send(release);
  }

  /** Takes over a new membership: connects to new members, forgets lost ones, and has everyone enter a complete epoch. */
  update(membership: Membership): void {
    const before = this.#membership;
    this.#membership = membership;
    this.#unservable = null;
    this.#noteUpdate();
    for (const gone of before?.members ?? []) {
      const stays = membership.members.some(
        (member) => member.member === gone.member && member.rank === gone.rank,
      );
      if (!stays) this.#lost(gone, 'its lease ended');
      if (!membership.members.some(({ member }) => member === gone.member)) {
        this.#leavers.get(gone.member)?.resolve();
        this.#leavers.delete(gone.member);
      }
    }
    if (membership.complete) void this.#enter(membership);
    else this.#entering?.abort();
  }

  /** Waits until no step runs, up to `drainMs`, and then until the ranks have everything that was sent to them. */
  async finish(drainMs: number): Promise<void> {
    await this.#idle(drainMs);
    await Promise.all([...this.#links.values()].map((link) => link.finish(UPDATE_MS)));
  }

  close(): void {
    this.#entering?.abort();
    this.#endEpoch(new UlyssesError('CANCELLED', 'the coordinator is stopping'));
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  /** Connects to every member and has all enter the epoch; repeated until it works or the membership changes. */
  async #enter(membership: Membership): Promise<void> {
    if (this.#ready?.epoch === membership.epoch) return;
    this.#entering?.abort();
    const entering = new AbortController();
    this.#entering = entering;
    if (this.#ready !== null) await this.#handOver(membership.epoch, entering.signal);
    let pauseMs = FIRST_PAUSE_MS;
    while (!(await this.#tryEnter(membership, entering.signal))) {
      await delay(pauseMs, entering.signal).catch(() => undefined);
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    }
  }

  /** The ranks of the ready epoch all stay: its steps end first, and then it does. */
  async #handOver(next: number, signal: AbortSignal): Promise<void> {
    await this.change(this.#options.drainMs, async () => {
      const ended = this.#ready?.epoch ?? null;
      if (!signal.aborted) this.#endEpoch(fieldError('STALE_EPOCH', 'epoch', ended, `${next}, which began`));
      this.#noteUpdate();
    });
  }

  #noteUpdate(): void {
    this.#updated.resolve();
    this.#updated = new Deferred();
  }

  async #idle(drainMs: number): Promise<void> {
    const limit = deadlineSignal(drainMs);
    while (this.#steps.size > 0 && !limit.signal.aborted) {
      this.#whenIdle = new Deferred();
      await this.#whenIdle.orAborted(limit.signal).catch(() => undefined);
    }
    limit.release();
  }

  /** True when there is no more to try: all ranks are ready, or the membership changed. */
  async #tryEnter({ epoch, members: ranks }: Membership, signal: AbortSignal): Promise<boolean> {
    const deadline = deadlineSignal(this.#options.enterTimeoutMs, signal);
    try {
      const links = ranks.map((rank) => this.#connect(rank));
      await Promise.all(links.map((link) => link.enter(epoch, ranks, deadline.signal)));
      if (signal.aborted) return true;
      this.#ready = { epoch, ranks };
      this.#whenReady.resolve(this.#ready);
      this.#options.logger.info({ epoch, ranks: ranks.length }, 'epoch ready');
      return true;
    } catch (thrown) {
      if (signal.aborted) return true;
      const { code, message } = toUlyssesError(thrown);
      this.#options.logger.warn({ epoch, code, reason: message }, 'epoch not ready');
      return false;
    } finally {
      deadline.release();
    }
  }

  #termed(command: RankCommand): TermedCommand {
    return { ...command, term: this.#options.term };
  }

  #connect(rank: RankAddress): RankLink {
    const existing = this.#links.get(rank.member);
    if (existing !== undefined) return existing;
    const link = new RankLink(rank, this.#options, {
      onVote: (step, refusal) => this.#step(step)?.voteOf(rank.rank, refusal),
      onFinished: (step) => this.#step(step)?.finishedBy(rank.rank),
      onFailed: (step, error) => this.#step(step)?.fail(error),
      onPeerLost: (peer, reason) => {
        this.#reportedLost(rank, peer, reason);
      },
      onLeaving: () => {
        this.#options.onLeaving(rank);
      },
      onDeposed: this.#options.onDeposed,
      onEnded: (reason) => {
        this.#links.delete(rank.member);
        this.#lost({ rank: rank.rank, member: rank.member }, reason);
        const { complete } = this.#membership ?? { complete: false };
        if (complete && this.#membership !== null) void this.#enter(this.#membership);
      },
    });
    this.#links.set(rank.member, link);
    return link;
  }

  /** A rank lost its link to a peer: the peer's own stream tells whether the peer or only the link is gone. */
  #reportedLost(reporter: RankAddress, peer: { rank: number; member: string }, reason: string): void {
    if (this.#ready?.ranks[peer.rank]?.member !== peer.member) return;
    const by = { reporter: `rank ${reporter.rank}` };
    this.#lost(peer, `${by.reporter} lost its link to it: ${reason}`, by);
    if (this.#membership?.complete === true) void this.#enter(this.#membership);
  }

  #lost({ rank, member }: { rank: number; member: string }, reason: string, more: ErrorDetails = {}): void {
    if (this.#ready?.ranks[rank]?.member !== member) return;
    this.#options.logger.warn({ rank, member, reason }, 'rank lost');
    this.#endEpoch(
      new UlyssesError('PEER_LOST', `rank ${rank} (member ${member}) was lost: ${reason}`, {
        ...more,
        field: 'rank',
        value: rank,
        expected: 'a rank that serves until the step has ended',
        peer: `rank ${rank}`,
        member,
      }),
    );
    const link = this.#links.get(member);
    const stays = this.#membership?.members.some((other) => other.member === member) ?? false;
    if (!stays) {
      this.#links.delete(member);
      link?.close();
    }
  }

  #endEpoch(cause: UlyssesError): void {
    if (this.#ready !== null) {
      this.#ready = null;
      this.#whenReady = new Deferred<ReadyEpoch>();
    }
    for (const step of [...this.#steps]) step.fail(cause);
  }

  #step(key: StepKey): FleetStep | undefined {
    for (const step of this.#steps) if (step.is(key)) return step;
    return undefined;
  }

  #linkOf(rank: RankAddress | undefined): RankLink | undefined {
    return rank === undefined ? undefined : this.#links.get(rank.member);
  }
}
