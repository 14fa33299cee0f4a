import { fieldError, toUlyssesError, UlyssesError } from '@ulysses/errors';
import type { ExchangePlane } from '@ulysses/exchange';
import type { CallContext, RankAddress, RankCommand, RankEvent, StepKey, TermedCommand } from '@ulysses/rpc';
import { AsyncQueue, Deferred, deadlineSignal, orAborted, type Logger } from '@ulysses/runtime';
import type { ForwardStore } from './forward-store.js';
import type { RankSteps } from './rank-steps.js';
import { PeerUnreachable, takeSeat, type EpochSeat } from './seat.js';

/** How long a stream may take to say its first command, and with it whose it is. */
const FIRST_COMMAND_MS = 10_000;
/** Elections there can be between two commands, with much to spare: a number that is only noise uses up no terms. */
const MOST_TERMS_AHEAD = 2 ** 31;
const NO_LEASE = { field: 'lease', value: 'none', expected: 'a rank that holds one' };
/** How long peers may take to answer when an epoch is entered. */
const CONNECT_MS = 3000;

export interface CoordinatorStreamOptions {
  readonly member: string;
  readonly plane: ExchangePlane;
  readonly store: ForwardStore;
  readonly logger: Logger;
  /** Hears of every epoch that is entered, and of its end. */
  readonly onSeat: (seat: EpochSeat | null) => void;
  /** The coordinator wanted this rank to end, and has let it go. */
  readonly onAskedToLeave: () => void;
}

/**
 * This rank's end of the coordinator's command stream.
 *
 * K1: one stream at a time; a newer one replaces the older, and when it ends every running step is aborted: without
 *     a coordinator nobody would ever commit them.
 * K2: commands are handled in order; an event that has no stream to go to is dropped with it.
 * K3: a command of an older term than any before is refused, and a stream of one replaces nothing: a leader that was deposed and
 *     does not know it disturbs no step of the leader that followed it.
 */
export class CoordinatorStream {
  readonly #options: CoordinatorStreamOptions;
  /** Outgoing links that are up. */
  readonly #connected = new Set<string>();
  #steps: RankSteps | null = null;
  #events: AsyncQueue<RankEvent> | null = null;
  #seat: EpochSeat | null = null;
  #serving = true;
  #leaving = false;
  /** The newest that a command had. */
  #term = 0;
  #streamEnded = new Deferred();

  constructor(options: CoordinatorStreamOptions) {
    this.#options = options;
  }

  /** Set once, right after construction: steps report through this stream. */
  attach(steps: RankSteps): void {
    this.#steps = steps;
  }

  /** The coordinator wants this rank to end: it is to take no other lease. */
  get leaving(): boolean {
    return this.#leaving;
  }

  get seat(): EpochSeat | null {
    return this.#seat;
  }

  finished(step: StepKey): void {
    this.#events?.push({ kind: 'finished', step });
  }

  failed(step: StepKey, error: UlyssesError): void {
    this.#events?.push({ kind: 'failed', step, error });
  }

  /** A tensor link broke: the coordinator decides what that means for the epoch. */
  linkLost(link: string, reason: string): void {
    if (!this.#connected.delete(link)) return;
    const seat = this.#seat;
    const peer = seat?.ranks[seat.peerLinks.indexOf(link)];
    if (seat === null || peer === undefined) return;
    this.#options.logger.warn({ epoch: seat.epoch, peer: `rank ${peer.rank}`, reason }, 'peer lost');
    this.#events?.push({
      kind: 'peer-lost',
      epoch: seat.epoch,
      rank: peer.rank,
      member: peer.member,
      reason,
    });
  }

  /** From now on no step is admitted and running ones end; for a lost lease or a shutdown. */
  stopServing(): void {
    this.#serving = false;
    this.#steps?.abortAll();
    this.#sit(null);
    this.#events?.close();
  }

  /** Says that this rank wants to leave, and serves until the coordinator has ended the stream, up to `deadlineMs`. */
  async leave(deadlineMs: number): Promise<void> {
    if (this.#events === null || deadlineMs === 0) return;
    const limit = deadlineSignal(deadlineMs);
    const ended = this.#streamEnded.promise;
    this.#events.push({ kind: 'leaving' });
    await orAborted(ended, limit.signal).catch(() => undefined);
    limit.release();
  }

  /** From now on steps are admitted again, under a new lease. */
  resumeServing(): void {
    this.#serving = true;
  }

  async *serve(commands: AsyncIterable<TermedCommand>, { signal }: CallContext): AsyncIterable<RankEvent> {
    const reader = commands[Symbol.asyncIterator]();
    const first = await firstOf(reader, signal);
    if (first === null) return;
    if (!this.#serving) throw new UlyssesError('LEASE_LOST', 'this rank holds no lease', NO_LEASE);
    this.#requireTerm(first);
    this.#events?.close();
    const events = new AsyncQueue<RankEvent>();
    this.#events = events;
    signal.addEventListener(
      'abort',
      () => {
        events.close();
      },
      { once: true },
    );
    const commandsEnded = { broken: null as UlyssesError | null };
    void this.#readCommands(first, reader, events).then((broken) => {
      commandsEnded.broken = broken;
      events.close();
    });
    try {
      yield* events;
      // The coordinator hears which of its commands is wrong, or that another leads, and not only that the stream ended.
      if (commandsEnded.broken !== null) throw commandsEnded.broken;
    } finally {
      if (this.#events === events) {
        this.#events = null;
        this.#steps?.abortAll();
        this.#sit(null);
        this.#streamEnded.resolve();
        this.#streamEnded = new Deferred();
      }
    }
  }

  /** Until they end, which is null, or one of them cannot be obeyed: why. */
  async #readCommands(
    first: TermedCommand,
    reader: AsyncIterator<TermedCommand>,
    events: AsyncQueue<RankEvent>,
  ): Promise<UlyssesError | null> {
    try {
      let command = first;
      while (this.#events === events) {
        this.#requireTerm(command);
        await this.#handle(command, events);
        const next = await reader.next();
        if (next.done === true) break;
        command = next.value;
      }
      return null;
    } catch (thrown) {
      const error = toUlyssesError(thrown);
      this.#options.logger[this.#serving ? 'warn' : 'debug'](
        { reason: error.message },
        'coordinator stream broke',
      );
      return error;
    }
  }

  #requireTerm({ term }: TermedCommand): void {
    const newest = this.#term;
    if (term > newest + MOST_TERMS_AHEAD) {
      throw fieldError('SHAPE_MISMATCH', 'term', term, `at most ${newest + MOST_TERMS_AHEAD}`);
    }
    if (term < newest) {
      const expected = `at least ${newest}, of the coordinator that leads`;
      throw fieldError('LEASE_LOST', 'term', term, expected, { newest });
    }
    this.#term = term;
  }

  async #handle(command: RankCommand, events: AsyncQueue<RankEvent>): Promise<void> {
    const steps = this.#steps;
    if (steps === null)
      throw new UlyssesError('INVARIANT', 'commands arrived before the steps were attached');
    switch (command.kind) {
      case 'enter-epoch':
        steps.abortAll();
        await this.#enterEpoch(command.epoch, command.ranks, events);
        break;
      case 'prepare':
        events.push({ kind: 'vote', step: command.step, refusal: this.#refusal(steps, command) });
        break;
      case 'abort':
        steps.abort(command.step);
        break;
      case 'commit':
        steps.commit(command.step);
        break;
      case 'release':
        this.#options.store.release(command.step);
        break;
      case 'leave':
        this.#leaveAsAsked(events);
        break;
    }
  }

  async #enterEpoch(
    epoch: number,
    ranks: readonly RankAddress[],
    events: AsyncQueue<RankEvent>,
  ): Promise<void> {
    const { member, plane, logger } = this.#options;
    this.#sit(null);
    try {
      const seat = await takeSeat(plane, member, epoch, ranks, this.#connected, CONNECT_MS);
      // A newer stream began meanwhile, and has had its own epoch entered (K1).
      if (this.#events !== events) return;
      this.#sit(seat);
      logger.info({ member, rank: seat.rank, epoch }, 'epoch entered');
      events.push({ kind: 'ready', epoch });
    } catch (thrown) {
      if (!(thrown instanceof PeerUnreachable)) throw thrown;
      const { rank, member: lost } = thrown.peer;
      logger.warn({ epoch, peer: `rank ${rank}`, reason: thrown.message }, 'peer unreachable');
      events.push({ kind: 'peer-lost', epoch, rank, member: lost, reason: thrown.message });
    }
  }

  /** However long the coordinator lets this rank serve: it says when, by ending the stream. */
  #leaveAsAsked(events: AsyncQueue<RankEvent>): void {
    if (this.#leaving) return;
    this.#leaving = true;
    void this.#streamEnded.promise.then(this.#options.onAskedToLeave);
    events.push({ kind: 'leaving' });
  }

  #sit(seat: EpochSeat | null): void {
    this.#seat = seat;
    this.#options.onSeat(seat);
  }

  /** Null for a yes. */
  #refusal(steps: RankSteps, command: RankCommand & { kind: 'prepare' }): UlyssesError | null {
    try {
      if (this.#seat === null) {
        throw fieldError(
          'STALE_EPOCH',
          'epoch',
          command.epoch,
          'one that this rank has entered; it is in none',
        );
      }
      steps.prepare(command, this.#seat);
      return null;
    } catch (thrown) {
      const error = toUlyssesError(thrown);
      const rank = this.#seat === null ? this.#options.member : `rank ${this.#seat.rank}`;
      return new UlyssesError(
        error.code,
        `${rank}: ${error.message}`,
        { peer: rank, ...error.details },
        thrown,
      );
    }
  }
}

/** Null when there is none. */
async function firstOf(
  reader: AsyncIterator<TermedCommand>,
  signal: AbortSignal,
): Promise<TermedCommand | null> {
  const limit = deadlineSignal(FIRST_COMMAND_MS, signal);
  try {
    const first = await orAborted(reader.next(), limit.signal);
    return first.done === true ? null : first.value;
  } finally {
    limit.release();
  }
}
