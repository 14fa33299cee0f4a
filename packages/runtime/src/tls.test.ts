import { describe, expect, it } from 'vitest';
import { tlsFilesOf } from './tls.js';

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
