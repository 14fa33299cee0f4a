import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';

/** How a call of one message ended. */
export interface RawOutcome {
  /** `grpc-status`; null when there was none. */
  readonly status: number | null;
  readonly message: string;
  /** Messages that came back. */
  readonly answers: readonly Buffer[];
  /** Whether its caller ended it, for it was answered or took too long; what has no status otherwise lost its connection. */
  readonly cancelled: boolean;
}

export interface RawCall {
  readonly path: string;
  /** Frames. */
  readonly bytes: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether its status is waited for; otherwise the first answer ends it. */
  readonly ends: boolean;
  /** When it is given up. */
  readonly patienceMs: number;
}

/** A gRPC client of bytes, over plain HTTP/2: what it sends need not be a message. */
export class RawGrpc {
  readonly #address: string;
  #session: ClientHttp2Session | null = null;

  constructor(address: string) {
    this.#address = address;
  }

  /** Ends the call with its first answer, or with its status. */
  async call(call: RawCall): Promise<RawOutcome> {
    const stream = this.open(call.path, call.headers);
    return await new Promise((resolve) => {
      let status: number | null = null;
      let message = '';
      const received: Buffer[] = [];
      let cancelled = false;
      const read = (headers: Record<string, unknown>): void => {
        if (headers['grpc-status'] === undefined) return;
        status = Number(headers['grpc-status']);
        const text = headers['grpc-message'];
        if (typeof text === 'string') message = decodeURIComponent(text);
      };
      const cancel = (): void => {
        cancelled = true;
        stream.close(constants.NGHTTP2_CANCEL);
      };
      const timer = setTimeout(cancel, call.patienceMs);
      stream.on('response', read).on('trailers', read);
      stream.on('data', (bytes: Buffer) => {
        received.push(bytes);
        // A unary call's status follows.
        if (!call.ends) cancel();
      });
      stream.on('error', (error: Error) => {
        message ||= error.message;
      });
      stream.on('close', () => {
        clearTimeout(timer);
        resolve({ status, message, answers: messagesOf(Buffer.concat(received)), cancelled });
      });
      stream.end(call.bytes);
    });
  }

  open(path: string, headers: Readonly<Record<string, string>> = {}): ClientHttp2Stream {
    if (this.#session === null || this.#session.closed || this.#session.destroyed) {
      this.#session = connect(`http://${this.#address}`);
      this.#session.on('error', () => undefined);
    }
    const grpc = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' };
    return this.#session.request({ ...grpc, ':path': path, ...headers });
  }

  close(): void {
    this.#session?.destroy();
  }
}

/** Not compressed, then the length. */
export function frame(bytes: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** What is in whole frames; a call that its caller ended may have had part of another. */
function messagesOf(frames: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at + 5 <= frames.length;) {
    const end = at + 5 + frames.readUInt32BE(at + 1);
    if (end > frames.length) break;
    messages.push(frames.subarray(at + 5, end));
    at = end;
  }
  return messages;
}
