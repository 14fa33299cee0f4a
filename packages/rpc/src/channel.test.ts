import { once } from 'node:events';
import { createServer, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connectivityState } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import { Channel } from './channel.js';

async function listening(port: number): Promise<ReturnType<typeof createServer>> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

it('plaintext beyond loopback is CONFIG, unless it is meant', () => {
  expect(() => new Channel('10.0.0.1:7100')).toThrow(
    expect.objectContaining({
      code: 'CONFIG',
      details: { field: 'address', value: '10.0.0.1:7100', expected: 'a loopback address, TLS, or insecure' },
    }),
  );
  new Channel('10.0.0.1:7100', { insecure: true }).close();
});

it('a client that is closed while it waits to connect again leaves no connection behind', async () => {
  const placeholder = await listening(0);
  const { port } = placeholder.address() as AddressInfo;
  placeholder.close();
  await once(placeholder, 'close');

  const channel = new Channel(`127.0.0.1:${port}`);
  // Returns when the first attempt has failed.
  await channel.connected(channel.limits({}));
  expect(channel.client.getChannel().getConnectivityState(false)).toBe(connectivityState.TRANSIENT_FAILURE);
  channel.close();
  const server = await listening(port);
  const [session] = (await once(server, 'session')) as [ServerHttp2Session];
  await once(session, 'close');
  server.close();
  await once(server, 'close');
});
