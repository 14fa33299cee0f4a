import { constants, type ServerHttp2Stream } from 'node:http2';
import { UlyssesError, fieldError } from '@ulysses/errors';
import { MAX_MESSAGE_BYTES } from './load-proto.js';
import { errorToStatus } from './status.js';

/** What all calls of one connection share. */
export interface ConnectionLoad {
  /** Of messages that have come in part. */
  heldBytes: number;
}

export interface WatchOptions {
  readonly slowMs: number;
  /** Whether its client may send more than one message, and be silent in between. */
  readonly repeats: boolean;
  readonly load: ConnectionLoad;
}

/** Most that messages which have come in part may hold on one connection. */
const HELD_LIMIT_BYTES = 2 * MAX_MESSAGE_BYTES;
/** Of a gRPC message: whether it is compressed, and its length. */
const PREFIX_BYTES = 5;

/**
 * One call, seen from below gRPC.
 *
 * W1: the time of a message runs from its first byte, or where there is only one from the beginning of the call to the end of the
 *     request; not while this side does not read.
 * W2: what is sent is stalled as long as none of it leaves.
 */
export class WatchedCall {
  readonly #stream: ServerHttp2Stream;
  readonly #options: WatchOptions;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixBytes = 0;
  /** Of the message after its prefix. */
  #bytesLeft = 0;
  #heldBytes = 0;
  #dueSince: number | null;
  #unsentBytes = 0;
  #stalledSince: number | null = null;

  constructor(stream: ServerHttp2Stream, options: WatchOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#dueSince = options.repeats ? null : performance.now();
    // grpc-js has paused it: this does not make it flow.
    stream.on('data', (data: Buffer) => {
      this.#take(data);
    });
    stream.once('end', () => {
      this.#dueSince = null;
    });
  }

  /** Ends the call if its client is too slow. */
  look(now: number): void {
    if (this.#stream.destroyed) return;
    const { slowMs } = this.#options;
    if (this.#dueSince !== null && this.#stream.isPaused()) this.#dueSince = now;
    if (this.#dueSince !== null && now - this.#dueSince >= slowMs) {
      this.#end(new UlyssesError('DEADLINE', `a message has not come within ${slowMs} ms of its beginning`));
      return;
    }
    const unsent = this.#stream.writableLength;
    if (unsent === 0 || unsent < this.#unsentBytes) this.#stalledSince = null;
    else if (this.#unsentBytes > 0) this.#stalledSince ??= now;
    this.#unsentBytes = unsent;
    if (this.#stalledSince !== null && now - this.#stalledSince >= slowMs) {
      this.#stream.close(constants.NGHTTP2_CANCEL);
    }
  }

  /** The call is over. */
  leave(): void {
    this.#hold(-this.#heldBytes);
  }

  #take(data: Buffer): void {
    for (let at = 0; at < data.length;) {
      if (this.#prefixBytes < PREFIX_BYTES) {
        this.#dueSince ??= performance.now();
        this.#prefix[this.#prefixBytes++] = data[at++]!;
        if (this.#prefixBytes < PREFIX_BYTES) continue;
        this.#bytesLeft = this.#prefix.readUInt32BE(1);
      } else {
        const taken = Math.min(this.#bytesLeft, data.length - at);
        this.#bytesLeft -= taken;
        at += taken;
        this.#hold(taken);
      }
      if (this.#bytesLeft === 0) this.#messageEnded();
    }
    const { heldBytes } = this.#options.load;
    if (heldBytes <= HELD_LIMIT_BYTES) return;
    const expected = `at most ${HELD_LIMIT_BYTES} on one connection`;
    this.#end(fieldError('OVERLOADED', 'bytes of unfinished messages', heldBytes, expected));
  }

  #messageEnded(): void {
    this.#prefixBytes = 0;
    this.#hold(-this.#heldBytes);
    if (this.#options.repeats) this.#dueSince = null;
  }

  #hold(bytes: number): void {
    this.#heldBytes += bytes;
    this.#options.load.heldBytes += bytes;
  }

  #end(error: UlyssesError): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    if (stream.headersSent) {
      stream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    const { code, details, metadata } = errorToStatus(error);
    const status = { 'grpc-status': String(code), 'grpc-message': encodeURI(details) };
    stream.respond(
      { 'content-type': 'application/grpc+proto', ...status, ...metadata.toHttp2Headers() },
      { endStream: true },
    );
    stream.close(constants.NGHTTP2_NO_ERROR);
  }
}
