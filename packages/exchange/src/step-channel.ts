import { UlyssesError, isErrorCode } from '@ulysses/errors';
import type { PlaneEvent, RowsToSend, StepKey, StepRegistration, TensorPlane } from '@ulysses/native';
import { Deferred } from '@ulysses/runtime';
import { shuffled } from './shuffled.js';

/** Rows on their way here, or away from here. */
export type Direction = 'in' | 'out';

export interface StepChannelOptions {
  /** Null: slices leave as they come. */
  readonly sliceOrderSeed: number | null;
  /**
   * The last row that came was placed, or the last that left was acknowledged; `beginMs`, by `performance.now()`, is when the first
   * was placed, or was sent. Not when there was none.
   */
  readonly onTransferred?: (direction: Direction, beginMs: number) => void;
  readonly onClose: () => void;
}

/** One for all: every step ends with it, and where that was is of no interest. */
const CLOSED = new UlyssesError('CANCELLED', 'the step is closed');

/**
 * One step's view of the tensor plane: what has arrived, what is acknowledged, what went wrong.
 *
 * C1: after `fail` or `close` every wait, past and future, rejects; the first cause wins.
 * C2: `close` ends the registration, so payload for the step is refused from then on.
 */
export class StepChannel {
  readonly key: StepKey;
  readonly #plane: TensorPlane;
  readonly #options: StepChannelOptions;
  readonly #granules = new Map<number, Deferred>();
  readonly #arrived = new Set<number>();
  readonly #received = new Deferred();
  readonly #sent = new Deferred();
  readonly #relayed = new Deferred();
  readonly #failed = new Deferred<never>();
  #failure: UlyssesError | null = null;
  /** Sends that wait to be shuffled, as many as were asked for so far. */
  #held: RowsToSend[] = [];
  #firstSentAt: number | null = null;
  #closed: { bytesSent: number; bytesReceived: number } | null = null;

  constructor(plane: TensorPlane, registration: StepRegistration, options: StepChannelOptions) {
    this.key = registration.key;
    this.#plane = plane;
    this.#options = options;
    plane.registerStep(registration);
    if (registration.relayBytes === 0) this.#relayed.resolve();
  }

  /** Resolves when all rows of a granule are placed. */
  granule(granule: number): Promise<void> {
    return this.#deferredGranule(granule).promise;
  }

  /** Whether `granule` has resolved already. */
  hasArrived(granule: number): boolean {
    return this.#arrived.has(granule);
  }

  /** Resolves when every expected segment is placed. */
  get received(): Promise<void> {
    return this.#received.promise;
  }

  /** Resolves when everything that this party sends is acknowledged by its final destination. Asked for after the last `send`. */
  get sent(): Promise<void> {
    this.#sendHeld();
    return this.#sent.promise;
  }

  /** Resolves when all that this party forwards for others is acknowledged. */
  get relayed(): Promise<void> {
    return this.#relayed.promise;
  }

  /** Never resolves; rejects with the first cause. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Rows of segments; they come after the rows of the same segment that were sent before. What is there at once goes at once. */
  send(sends: readonly RowsToSend[]): void {
    if (this.#options.sliceOrderSeed === null) this.#leave(sends);
    else this.#held = [...this.#held, ...sends];
  }

  fail(error: UlyssesError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    for (const waiting of this.#granules.values()) waiting.reject(error);
    this.#received.reject(error);
    this.#sent.reject(error);
    this.#relayed.reject(error);
    this.#failed.reject(error);
  }

  /** Ends the step on this plane, whatever its state, and says what it moved. */
  close(): { bytesSent: number; bytesReceived: number } {
    if (this.#closed === null) {
      this.#closed = this.#plane.closeStep(this.key);
      this.#options.onClose();
      this.fail(CLOSED);
    }
    return this.#closed;
  }

  handle(event: PlaneEvent): void {
    switch (event.kind) {
      case 'granule':
        this.#arrived.add(event.granule);
        this.#deferredGranule(event.granule).resolve();
        break;
      case 'received':
        this.#received.resolve();
        this.#tellArrival();
        break;
      case 'sent':
        this.#sent.resolve();
        if (this.#firstSentAt !== null) this.#options.onTransferred?.('out', this.#firstSentAt);
        break;
      case 'relayed':
        this.#relayed.resolve();
        break;
      case 'failed': {
        const code = isErrorCode(event.code) ? event.code : 'INVARIANT';
        this.fail(new UlyssesError(code, event.message, { peer: event.peer }));
        break;
      }
      case 'link-lost':
        break;
    }
  }

  #sendHeld(): void {
    const { sliceOrderSeed } = this.#options;
    if (sliceOrderSeed === null) return;
    const { call, pass } = this.key;
    const held = this.#held;
    this.#held = [];
    // Parts of one segment take the turns that it drew in their own order: that one is the protocol's.
    const nameOf = ({ destination: { role, index }, tensor, number }: RowsToSend): string =>
      `${role} ${index} ${tensor} ${number}`;
    const bySegment = new Map<string, RowsToSend[]>();
    for (const send of held) bySegment.set(nameOf(send), [...(bySegment.get(nameOf(send)) ?? []), send]);
    const turns = shuffled(held, sliceOrderSeed + 2 * call + Number(pass === 'backward'));
    this.#leave(turns.map((turn) => bySegment.get(nameOf(turn))?.shift() ?? turn));
  }

  #leave(sends: readonly RowsToSend[]): void {
    if (this.#failure !== null || this.#closed !== null || sends.length === 0) return;
    this.#firstSentAt ??= performance.now();
    this.#plane.sendRows(this.key, sends);
  }

  #tellArrival(): void {
    const { onTransferred } = this.#options;
    if (onTransferred === undefined) return;
    const since = this.#plane.sinceFirstRowMs(this.key);
    if (since !== null) onTransferred('in', performance.now() - since);
  }

  #deferredGranule(granule: number): Deferred {
    let waiting = this.#granules.get(granule);
    if (waiting === undefined) {
      waiting = new Deferred();
      if (this.#failure !== null) waiting.reject(this.#failure);
      this.#granules.set(granule, waiting);
    }
    return waiting;
  }
}
