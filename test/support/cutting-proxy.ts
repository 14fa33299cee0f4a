import { connect, createServer, type Socket } from 'node:net';

const FRAME_HEADER_BYTES = 9;
const DATA = 0;
const RST_STREAM = 3;

export interface CuttingProxy extends FrameProxy {
  /** Whether the connection was cut. */
  readonly cut: boolean;
}

export interface FrameProxy {
  /** Where clients dial. */
  readonly address: string;
  stop(): Promise<void>;
}

/**
 * Stands between a gRPC client and its server as a network that fails at the worst moment: the first connection breaks when
 * the `message`-th message comes back from the server, which is lost. Later connections are passed on as they are.
 *
 * It counts HTTP/2 data frames, so messages have to be small, and come one at a time.
 */
export async function cutBeforeMessage(server: string, message: number): Promise<CuttingProxy> {
  let cut = false;
  let first = true;
  const proxy = await passOn(server, () => {
    if (!first) return {};
    first = false;
    let messages = 0;
    return {
      fromServer: (type, length) => {
        if (type === DATA && length > 0) messages++;
        cut ||= messages >= message;
        return !cut;
      },
    };
  });
  return {
    ...proxy,
    get cut() {
      return cut;
    },
  };
}

/** Stands between a gRPC client and its server, and counts the calls that the client ends before the server has. */
export async function countResets(server: string): Promise<FrameProxy & { readonly resets: number }> {
  let resets = 0;
  const proxy = await passOn(server, () => ({
    fromClient: (type) => {
      if (type === RST_STREAM) resets++;
      return true;
    },
  }));
  return {
    ...proxy,
    get resets() {
      return resets;
    },
  };
}

/** Sees a frame, and says whether the connection may live on. */
type OnFrame = (type: number, length: number) => boolean;

interface Watch {
  readonly fromClient?: OnFrame;
  readonly fromServer?: OnFrame;
}

async function passOn(server: string, watch: () => Watch): Promise<FrameProxy> {
  const [host, port] = server.split(':');
  const sockets = new Set<Socket>();
  const proxy = createServer((client) => {
    const upstream = connect(Number(port), host);
    const { fromClient, fromServer } = watch();
    for (const [from, to, onFrame] of [
      [client, upstream, fromClient],
      [upstream, client, fromServer],
    ] as const) {
      sockets.add(from);
      const frames = onFrame === undefined ? null : new Frames(onFrame);
      from.on('data', (bytes) => {
        if (frames === null || frames.pass(bytes)) {
          to.write(bytes);
          return;
        }
        client.destroy();
        upstream.destroy();
      });
      from.on('error', () => from.destroy());
      from.on('close', () => {
        sockets.delete(from);
        client.destroy();
        upstream.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const bound = proxy.address();
  if (bound === null || typeof bound === 'string') throw new Error('the proxy has no port');
  return {
    address: `127.0.0.1:${bound.port}`,
    stop: async () => {
      const closed = new Promise<void>((resolve) => proxy.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** What a client sends before its first frame. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** HTTP/2 frames of one direction, which arrive in pieces. */
class Frames {
  readonly #onFrame: OnFrame;
  #pending = Buffer.alloc(0);

  constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame;
  }

  /** False as soon as a frame is not to pass. */
  pass(bytes: Buffer): boolean {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    if (this.#pending[0] === PREFACE[0]) {
      if (this.#pending.length < PREFACE.length) return true;
      this.#pending = this.#pending.subarray(PREFACE.length);
    }
    while (this.#pending.length >= FRAME_HEADER_BYTES) {
      const length = this.#pending.readUIntBE(0, 3);
      if (this.#pending.length < FRAME_HEADER_BYTES + length) break;
      if (!this.#onFrame(this.#pending[3]!, length)) return false;
      this.#pending = this.#pending.subarray(FRAME_HEADER_BYTES + length);
    }
    return true;
  }
}
