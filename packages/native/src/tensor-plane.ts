import { UlyssesError } from '@ulysses/errors';
import { SILENT_PEER_MS, type ConnectionOptions } from '@ulysses/runtime';
import { fromNative, native } from './from-native.js';
import { addon, type NativePlane, type PlaneCounters, type StepBytes } from './native.js';
import { memory } from './region.js';
import type {
  Party,
  PlaneEvent,
  RowsToSend,
  SegmentPlace,
  StepKey,
  StepRegistration,
  TensorName,
  Transport,
} from './types.js';

/** Memory for peers of this host: only what is used of it is ever touched. */
export const SHARED_BYTES = 2 ** 28;

/** As on the control ports. */
const SLOW_PEER_MS = 30_000;

/** A connection that takes longer has failed, unless the caller says otherwise. */
const CONNECT_DEADLINE_MS = 10_000;

export interface TensorPlaneOptions extends ConnectionOptions {
  /** `host:port` to accept calls on (port 0: any free one); null for a process that only dials. */
  readonly listen: string | null;
  /** What links to peers of this host and user are made of, where they allow it too. @default 'auto' */
  readonly transport?: Transport;
  /**
   * Size of the memory that those peers read in place; 0 for none. The first plane of an environment decides.
   * @default SHARED_BYTES
   */
  readonly sharedBytes?: number;
  /** Who this process is, as peers read it in refusals, for example `rank 2`. */
  readonly description?: string;
  /**
   * How long a peer may take for its part of a handshake or the rest of a message, and have a connection without a call.
   * @default SLOW_PEER_MS
   */
  readonly slowPeerMs?: number;
  readonly onEvent: (event: PlaneEvent) => void;
}

export interface ConnectOptions {
  readonly deadlineMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Moves rows between this process's regions and those of its peers. A plane that listens keeps the process alive
 * until it is closed; one that only dials does so while a step is registered.
 */
export class TensorPlane {
  /** Where it listens. */
  readonly address: string | null;
  readonly #plane: NativePlane;

  private constructor(plane: NativePlane) {
    this.#plane = plane;
    this.address = plane.address();
  }

  /** @throws CONFIG when it cannot listen there, or a file cannot be used */
  static async open({
    listen,
    transport = 'auto',
    sharedBytes = SHARED_BYTES,
    tls = null,
    insecure = false,
    silentPeerMs = SILENT_PEER_MS,
    description = 'a tensor plane',
    slowPeerMs = SLOW_PEER_MS,
    onEvent,
  }: TensorPlaneOptions): Promise<TensorPlane> {
    // An absent name is null to the addon.
    const files = tls === null ? null : { ...tls, serverName: tls.serverName ?? null };
    const connections = { tls: files, insecure, silentPeerMs, slowPeerMs };
    return native(
      () =>
        new TensorPlane(
          addon.TensorPlane.open(memory, listen, transport, sharedBytes, connections, description, onEvent),
        ),
    );
  }

  /**
   * Opens a link to the rank at `address` (`host:port`). `party` is the `ulysses-party` metadata that says who dials.
   * @throws PEER_LOST when nobody answers there, within the deadline; UNAUTHENTICATED when certificates are wrong, saying how; CONFIG for
   * TCP in plaintext beyond loopback that is not meant; CANCELLED
   */
  async connectRank(
    link: string,
    address: string,
    party: string,
    options: ConnectOptions = {},
  ): Promise<void> {
    await this.#connect(link, options, (deadlineMs) =>
      this.#plane.connectRank(link, address, party, deadlineMs),
    );
  }

  /** Opens a link to a rank on behalf of a sequence owner, which nobody can dial: rows come back on the same link. */
  async connectOwner(
    link: string,
    address: string,
    party: string,
    options: ConnectOptions = {},
  ): Promise<void> {
    await this.#connect(link, options, (deadlineMs) =>
      this.#plane.connectOwner(link, address, party, deadlineMs),
    );
  }

  /** Ends a link without an event. Unknown names are ignored. */
  disconnect(link: string): void {
    native(() => {
      this.#plane.disconnect(link);
    });
  }

  /** Reserves memory and routes for one step. Its rows may arrive from now on. */
  registerStep(registration: StepRegistration): void {
    native(() => {
      this.#plane.registerStep(registration);
    });
  }

  /**
   * Sends segments [firstSegment, firstSegment + segments.length) of a tensor. Their rows are not to be written
   * until the step's `sent` event, or until it is closed.
   */
  send(
    key: StepKey,
    destination: Party,
    tensor: TensorName,
    firstSegment: number,
    segments: readonly SegmentPlace[],
  ): void {
    native(() => {
      this.#plane.send(key, destination, tensor, firstSegment, segments);
    });
  }

  /** Sends rows of any segments: all or, when it throws, none. Rows of a segment leave in their order. */
  sendRows(key: StepKey, sends: readonly RowsToSend[]): void {
    native(() => {
      this.#plane.sendRows(key, sends);
    });
  }

  /** How long ago the first row of a step was placed; null when none was, or the step is not registered. */
  sinceFirstRowMs(key: StepKey): number | null {
    return native(() => this.#plane.sinceFirstRowMs(key));
  }

  /** Forgets a step; safe at any time. Its memory is not touched any more when this returns. */
  closeStep(key: StepKey): StepBytes {
    return native(() => this.#plane.closeStep(key));
  }

  counters(): PlaneCounters {
    return native(() => this.#plane.counters());
  }

  /** Size of the memory that peers of this host read in place, as the first plane asked for it; 0 for none. */
  get sharedMemoryBytes(): number {
    return native(() => this.#plane.arenaBytes());
  }

  /** Ends all links and steps. Nothing is reported afterwards. Does nothing the second time. */
  async close(): Promise<void> {
    native(() => {
      this.#plane.close();
    });
  }

  async #connect(
    link: string,
    { deadlineMs = CONNECT_DEADLINE_MS, signal }: ConnectOptions,
    start: (deadlineMs: number) => Promise<void>,
  ): Promise<void> {
    const cancelled = () =>
      new UlyssesError('CANCELLED', `connecting ${link} was cancelled`, {}, signal?.reason);
    if (signal?.aborted) throw cancelled();
    const cancel = () => {
      this.disconnect(link);
    };
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      await start(deadlineMs);
    } catch (thrown) {
      throw signal?.aborted ? cancelled() : fromNative(thrown);
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }
}
