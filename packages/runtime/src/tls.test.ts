import { describe, expect, it } from 'vitest';
import { requirePrivate, tlsFilesOf } from './tls.js';

const NONE = { tlsCert: null, tlsKey: null, tlsCa: null, tlsName: null };
const ALL = { tlsCert: 'c.pem', tlsKey: 'k.pem', tlsCa: 'a.pem', tlsName: null };
const FILES = { cert: 'c.pem', key: 'k.pem', ca: 'a.pem', serverName: null };

describe('the files of TLS', () => {
  it('are three, or there is no TLS', () => {
    expect(tlsFilesOf(NONE)).toBeNull();
    expect(tlsFilesOf(ALL)).toEqual(FILES);
    expect(tlsFilesOf({ ...ALL, tlsName: 'blue' })).toEqual({ ...FILES, serverName: 'blue' });
  });

  it.each([
    ['tls-cert', { ...ALL, tlsCert: null }],
    ['tls-key', { ...ALL, tlsKey: null }],
    ['tls-ca', { ...ALL, tlsCa: null }],
    ['tls-cert', { ...NONE, tlsName: 'blue' }],
  ])('are refused when %s is missing', (field, settings) => {
    expect(() => tlsFilesOf(settings)).toThrow(
      expect.objectContaining({ code: 'CONFIG', details: expect.objectContaining({ field }) }),
    );
  });
});

describe('a port without TLS', () => {
  it.each(['127.0.0.1:0', '127.8.9.10:7100', 'localhost:7100', '[::1]:0'])('may listen on %s', (listen) => {
    requirePrivate('listen', listen, null, false);
  });

  it.each(['0.0.0.0:7100', '[::]:7100', '10.0.0.1:7100', 'rank-1:7100', '127.evil.example:7100'])(
    'may listen on %s only when told so, or with TLS',
    (listen) => {
      expect(() => {
        requirePrivate('tensor-listen', listen, null, false);
      }).toThrow(
        expect.objectContaining({
          code: 'CONFIG',
          message: expect.stringMatching(/^tensor-listen is ".+--tls-cert.+--insecure/),
        }),
      );
      requirePrivate('tensor-listen', listen, null, true);
      requirePrivate('tensor-listen', listen, FILES, false);
    },
  );
});
