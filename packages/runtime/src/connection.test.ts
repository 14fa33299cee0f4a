import { describe, expect, it } from 'vitest';
import { connectionOptionsOf, requirePrivate } from './connection.js';

const TLS = { cert: 'c.pem', key: 'k.pem', ca: 'a.pem' };

it('connections are made as the settings of a process say', () => {
  const tls = { tlsCert: 'c.pem', tlsKey: 'k.pem', tlsCa: 'a.pem', tlsName: null };
  expect(connectionOptionsOf({ ...tls, insecure: false, silentPeer: 4000 })).toEqual({
    tls: { ...TLS, serverName: null },
    insecure: false,
    silentPeerMs: 4000,
  });
});

describe('plaintext', () => {
  it.each(['127.0.0.1:0', '127.8.9.10:7100', 'localhost:7100', '[::1]:0', '[::ffff:127.0.0.1]:7100'])(
    'may be spoken at %s',
    (address) => {
      requirePrivate('listen', address, {});
    },
  );

  it.each([
    ...['0.0.0.0:7100', '[::]:7100', '10.0.0.1:7100', '[::ffff:10.0.0.1]:7100', 'rank-1:7100'],
    ...['127.evil.example:7100', 'localhost.evil.example:7100', 'ipv4:127.0.0.1:7100'],
  ])('may be spoken at %s only when told so', (address) => {
    const refused = expect.objectContaining({
      code: 'CONFIG',
      message: expect.stringMatching(/^tensor-listen is ".+--tls-cert.+--insecure/),
      details: expect.objectContaining({
        field: 'tensor-listen',
        value: address,
        expected: expect.any(String),
      }),
    });
    for (const options of [{}, { tls: null, insecure: false, silentPeerMs: 5000 }]) {
      expect(() => {
        requirePrivate('tensor-listen', address, options);
      }).toThrow(refused);
    }
    requirePrivate('tensor-listen', address, { insecure: true });
    requirePrivate('tensor-listen', address, { tls: TLS });
  });
});
