import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import {
  connectRank,
  type RankAddress,
  type RankClient,
  type RankEvent,
  type StepKey,
  type TermedCommand,
} from '@ulysses/rpc';
import { AsyncQueue, Deferred, deadlineSignal, orAborted, type ConnectionOptions } from '@ulysses/runtime';

export interface RankLinkListeners {
  readonly onVote: (step: StepKey, refusal: UlyssesError | null) => void;
  readonly onFinished: (step: StepKey) => void;
  readonly onFailed: (step: StepKey, error: UlyssesError) => void;
  readonly onPeerLost: (peer: { rank: number; member: string }, reason: string) => void;
  /** The rank wants to leave. */
  readonly onLeaving: () => void;
  /** The rank obeys a later leader. */
  readonly onDeposed: (term: number) => void;
  /** The stream ended, for whatever reason but `close`. */
  readonly onEnded: (reason: string) => void;
}

/** The coordinator's command stream to one rank. Its end is how a dead rank is noticed first. */
export class RankLink {
  readonly client: RankClient;
  readonly #term: number;
  readonly #listeners: RankLinkListeners;
  readonly #commands = new AsyncQueue<TermedCommand>();
  readonly #abort = new AbortController();
  readonly #ready = new Map<number, Deferred>();
  readonly #reading: Promise<void>;
  #ended: UlyssesError | null = null;

  constructor(
    rank: RankAddress,
    { term, connections }: { readonly term: number; readonly connections: ConnectionOptions },
    listeners: RankLinkListeners,
  ) {
    this.#term = term;
    this.#listeners = listeners;
    this.client = connectRank(rank.controlAddress, connections);
    this.#reading = this.#read();
  }

  /** One object for several ranks is encoded once. */
  send(command: TermedCommand): void {
    this.#commands.push(command);
  }

  /** Has the rank connect to its peers; resolves when it said ready. */
  async enter(epoch: number, ranks: readonly RankAddress[], signal: AbortSignal): Promise<void> {
    if (this.#ended !== null) throw this.#ended;
    const ready = new Deferred();
    this.#ready.set(epoch, ready);
    try {
      this.send({ kind: 'enter-epoch', epoch, ranks, term: this.#term });
      await ready.orAborted(signal);
    } finally {
      this.#ready.delete(epoch);
    }
  }

  /** Sends what is to be sent and nothing more; resolves when the rank has read it, or after `deadlineMs`. */
  async finish(deadlineMs: number): Promise<void> {
    this.#ended ??= new UlyssesError('CANCELLED', 'the stream to the rank was closed');
    this.#commands.close();
    const limit = deadlineSignal(deadlineMs);
    await orAborted(this.#reading, limit.signal).catch(() => undefined);
    limit.release();
  }

  close(): void {
    this.#ended ??= new UlyssesError('CANCELLED', 'the stream to the rank was closed');
    this.#abort.abort(this.#ended);
    this.#commands.close();
    this.client.close();
  }

  async #read(): Promise<void> {
    let reason = 'its command stream ended';
    try {
      for await (const event of this.client.steps(this.#commands, { signal: this.#abort.signal }))
        this.#handle(event);
    } catch (thrown) {
      const { code, message, details } = toUlyssesError(thrown);
      reason = message;
      const deposed = code === 'LEASE_LOST' && details.field === 'term' && this.#ended === null;
      if (deposed) this.#listeners.onDeposed(Number(details['newest']));
    }
    if (this.#ended !== null) return;
    this.#ended = new UlyssesError('PEER_LOST', reason);
    for (const waiting of this.#ready.values()) waiting.reject(this.#ended);
    this.#commands.close();
    this.client.close();
    this.#listeners.onEnded(reason);
  }

  #handle(event: RankEvent): void {
    switch (event.kind) {
      case 'ready':
        this.#ready.get(event.epoch)?.resolve();
        break;
      case 'vote':
        this.#listeners.onVote(event.step, event.refusal);
        break;
      case 'finished':
        this.#listeners.onFinished(event.step);
        break;
      case 'failed':
        this.#listeners.onFailed(event.step, event.error);
        break;
      case 'peer-lost':
        this.#ready
          .get(event.epoch)
          ?.reject(new UlyssesError('PEER_LOST', `it cannot reach rank ${event.rank}: ${event.reason}`));
        this.#listeners.onPeerLost(event, event.reason);
        break;
      case 'leaving':
        this.#listeners.onLeaving();
        break;
    }
  }
}
