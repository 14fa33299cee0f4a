import { connect, createServer, type Socket } from 'node:net';

const FRAME_HEADER_BYTES = 9;
const DATA = 0;

export interface CuttingProxy {
  /** Where clients dial. */
  readonly address: string;
  /** Whether the connection was cut. */
  readonly cut: boolean;
  stop(): Promise<void>;
}

/**
 * Stands between a gRPC client and its server as a network that fails at the worst moment: the first connection breaks when
 * the `message`-th message comes back from the server, which is lost. Later connections are passed on as they are.
 *
 * It counts HTTP/2 data frames, so messages have to be small, and come one at a time.
 */
export async function cutBeforeMessage(server: string, message: number): Promise<CuttingProxy> {
  const [host, port] = server.split(':');
  const sockets = new Set<Socket>();
  let cut = false;
  let first = true;
  const proxy = createServer((client) => {
    const upstream = connect(Number(port), host);
    const counted = first ? new FrameCounter() : null;
    first = false;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (bytes) => upstream.write(bytes));
    upstream.on('data', (bytes) => {
      if (counted !== null && counted.count(bytes) >= message) {
        cut = true;
        client.destroy();
        upstream.destroy();
      } else client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const bound = proxy.address();
  if (bound === null || typeof bound === 'string') throw new Error('the proxy has no port');
  return {
    address: `127.0.0.1:${bound.port}`,
    get cut() {
      return cut;
    },
    stop: async () => {
      const closed = new Promise<void>((resolve) => proxy.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Data frames with content, in a stream of HTTP/2 frames that arrives in pieces. */
class FrameCounter {
  #pending = Buffer.alloc(0);
  #frames = 0;

  count(bytes: Buffer): number {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    while (this.#pending.length >= FRAME_HEADER_BYTES) {
      const length = this.#pending.readUIntBE(0, 3);
      if (this.#pending.length < FRAME_HEADER_BYTES + length) break;
      if (this.#pending[3] === DATA && length > 0) this.#frames++;
      this.#pending = this.#pending.subarray(FRAME_HEADER_BYTES + length);
    }
    return this.#frames;
  }
}
