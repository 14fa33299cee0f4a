import { connect, createServer, type Socket } from 'node:net';

export type Direction = 'to-server' | 'to-client';

export interface OneWayProxy {
  readonly address: string;
  /** From now on nothing goes that way, on connections of now and of later; nobody is told. */
  partition(direction: Direction): void;
  /** What was held back is lost with its connections. */
  heal(): void;
  stop(): Promise<void>;
}

/** Stands before a server as a network of which one direction can fail without a sign, the other one working on. */
export async function oneWayProxy(server: string, listen = 0): Promise<OneWayProxy> {
  const [host, port] = server.split(':');
  const pairs = new Set<readonly [Socket, Socket]>();
  let lost: Direction | null = null;
  const end = ([client, upstream]: readonly [Socket, Socket]): void => {
    client.destroy();
    upstream.destroy();
  };
  const proxy = createServer((client) => {
    const upstream = connect(Number(port), host);
    const pair = [client, upstream] as const;
    pairs.add(pair);
    for (const socket of pair) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        pairs.delete(pair);
        end(pair);
      });
    }
    const pass = (from: Socket, to: Socket, direction: Direction): void => {
      from.on('data', (bytes) => {
        // Read and lost: a network takes bytes that it does not deliver.
        if (lost === direction || to.write(bytes)) return;
        from.pause();
        to.once('drain', () => from.resume());
      });
    };
    pass(client, upstream, 'to-server');
    pass(upstream, client, 'to-client');
  });
  await new Promise<void>((resolve, reject) => {
    proxy.once('error', reject);
    proxy.listen(listen, '127.0.0.1', resolve);
  });
  const bound = proxy.address();
  if (bound === null || typeof bound === 'string') throw new Error('the proxy has no port');
  return {
    address: `127.0.0.1:${bound.port}`,
    partition: (direction) => {
      lost = direction;
    },
    heal: () => {
      if (lost !== null) for (const pair of pairs) end(pair);
      lost = null;
    },
    stop: async () => {
      const closed = new Promise<void>((resolve) => proxy.close(() => resolve()));
      for (const pair of pairs) end(pair);
      await closed;
    },
  };
}

/** A port that was free a moment ago, for a server that is told of a proxy before it listens. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (bound === null || typeof bound === 'string') throw new Error('no port is free');
  return bound.port;
}
