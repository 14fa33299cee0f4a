import {
  TensorPlane,
  type PlaneCounters,
  type PlaneEvent,
  type StepKey,
  type StepRegistration,
  type TensorPlaneOptions,
} from '@ulysses/native';
import { sliceOrderSeed } from './slice-order-seed.js';
import { StepChannel, type StepChannelOptions } from './step-channel.js';

export interface ExchangePlaneOptions extends Omit<TensorPlaneOptions, 'onEvent'> {
  /** A link broke or ended; steps that use it are the caller's to fail. */
  readonly onLinkLost: (link: string, reason: string) => void;
  /** For tests: the order in which a step's slices leave. @default `sliceOrderSeed()` */
  readonly sliceOrderSeed?: number | null;
}

/** A tensor plane whose events are dispatched to the step they are about. */
export class ExchangePlane {
  readonly #channels = new Map<string, StepChannel>();
  readonly #plane: TensorPlane;
  /** Null: slices leave as they come. */
  readonly sliceOrderSeed: number | null;

  private constructor(plane: TensorPlane, sliceOrderSeed: number | null) {
    this.#plane = plane;
    this.sliceOrderSeed = sliceOrderSeed;
  }

  static async open(options: ExchangePlaneOptions): Promise<ExchangePlane> {
    // Events never come from inside `open`, so `self` is set before the first one.
    const self: { plane: ExchangePlane | null } = { plane: null };
    const plane = await TensorPlane.open({
      ...options,
      onEvent: (event) => {
        if (event.kind === 'link-lost') options.onLinkLost(event.link, event.reason);
        else self.plane?.dispatch(event);
      },
    });
    self.plane = new ExchangePlane(plane, options.sliceOrderSeed ?? sliceOrderSeed());
    return self.plane;
  }

  /** Where peers dial; null when not listening. */
  get address(): string | null {
    return this.#plane.address;
  }

  /** Payload since it was opened, and what it holds and what links are made of now. */
  get counters(): PlaneCounters {
    return this.#plane.counters();
  }

  /** See `TensorPlane`. */
  get sharedMemoryBytes(): number {
    return this.#plane.sharedMemoryBytes;
  }

  /** Links that can be sent on now. */
  get links(): number {
    return this.#plane.counters().links;
  }

  connectRank(link: string, address: string, party: string, options: { deadlineMs: number }): Promise<void> {
    return this.#plane.connectRank(link, address, party, options);
  }

  connectOwner(link: string, address: string, party: string, options: { deadlineMs: number }): Promise<void> {
    return this.#plane.connectOwner(link, address, party, options);
  }

  disconnect(link: string): void {
    this.#plane.disconnect(link);
  }

  /** Reserves a step; payload for it is refused before this call and after the channel's `close`. */
  openStep(
    registration: StepRegistration,
    { onTransferred }: Pick<StepChannelOptions, 'onTransferred'> = {},
  ): StepChannel {
    const name = stepName(registration.key);
    const channel = new StepChannel(this.#plane, registration, {
      sliceOrderSeed: this.sliceOrderSeed,
      ...(onTransferred === undefined ? {} : { onTransferred }),
      onClose: () => this.#channels.delete(name),
    });
    this.#channels.set(name, channel);
    return channel;
  }

  async close(): Promise<void> {
    for (const channel of [...this.#channels.values()]) channel.close();
    await this.#plane.close();
  }

  private dispatch(event: Exclude<PlaneEvent, { kind: 'link-lost' }>): void {
    this.#channels.get(stepName(event.key))?.handle(event);
  }
}

/** A step key as a map key. Attempts differ; `stepIdentity` does not tell them apart. */
export function stepName(key: StepKey): string {
  return `${stepIdentity(key)} ${key.attempt}`;
}

/** What names a step across attempts and epochs. */
export function stepIdentity(key: Omit<StepKey, 'attempt'>): string {
  return JSON.stringify([key.job, key.session, key.call, key.pass]);
}
