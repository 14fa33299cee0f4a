import { toUlyssesError, UlyssesError } from '@ulysses/errors';
import type { ExchangePlane } from '@ulysses/exchange';
import type { CallContext, RankAddress, RankCommand, RankEvent, StepKey } from '@ulysses/rpc';
import { AsyncQueue, Deferred, deadlineSignal, orAborted, type Logger } from '@ulysses/runtime';
import type { ForwardStore } from './forward-store.js';
import type { RankSteps } from './rank-steps.js';
import { PeerUnreachable, takeSeat, type EpochSeat } from './seat.js';

/** How long peers may take to answer when an epoch is entered. */
const CONNECT_MS = 3000;

export interface CoordinatorStreamOptions {
  readonly member: string;
  readonly plane: ExchangePlane;
  readonly store: ForwardStore;
  readonly logger: Logger;
  /** Hears of every epoch that is entered, and of its end. */
  readonly onSeat: (seat: EpochSeat | null) => void;
  /** The coordinator wants this rank to end. */
  readonly onAskedToLeave: () => void;
}

/**
 * This rank's end of the coordinator's command stream.
 *
 * K1: one stream at a time; a newer one replaces the older, and when it ends every running step is aborted: without
 *     a coordinator nobody would ever commit them.
 * K2: commands are handled in order; an event that has no stream to go to is dropped with it.
 */
export class CoordinatorStream {
  readonly #options: CoordinatorStreamOptions;
  /** Outgoing links that are up. */
  readonly #connected = new Set<string>();
  #steps: RankSteps | null = null;
  #events: AsyncQueue<RankEvent> | null = null;
  #seat: EpochSeat | null = null;
  #serving = true;
  #streamEnded = new Deferred();

  constructor(options: CoordinatorStreamOptions) {
    this.#options = options;
  }

  /** Set once, right after construction: steps report through this stream. */
  attach(steps: RankSteps): void {
    this.#steps = steps;
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

  async *serve(commands: AsyncIterable<RankCommand>, { signal }: CallContext): AsyncIterable<RankEvent> {
    if (!this.#serving) throw new UlyssesError('LEASE_LOST', 'this rank holds no lease');
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
    void this.#readCommands(commands, events);
    try {
      yield* events;
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

  async #readCommands(commands: AsyncIterable<RankCommand>, events: AsyncQueue<RankEvent>): Promise<void> {
    try {
      for await (const command of commands) {
        if (this.#events !== events) break;
        await this.#handle(command, events);
      }
    } catch (thrown) {
      const level = this.#serving ? 'warn' : 'debug';
      this.#options.logger[level]({ reason: toUlyssesError(thrown).message }, 'coordinator stream broke');
    }
    events.close();
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
        this.#options.onAskedToLeave();
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

  #sit(seat: EpochSeat | null): void {
    this.#seat = seat;
    this.#options.onSeat(seat);
  }

  /** Null for a yes. */
  #refusal(steps: RankSteps, command: RankCommand & { kind: 'prepare' }): UlyssesError | null {
    try {
      if (this.#seat === null) throw new UlyssesError('STALE_EPOCH', 'this rank has entered no epoch');
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
