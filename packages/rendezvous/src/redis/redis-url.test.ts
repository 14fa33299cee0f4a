import { describe, expect, it } from 'vitest';
import { isRedisUrl, maskRedisUrl, parseRedisUrl } from './redis-url.js';

const PLAIN = {
  hosts: [{ host: 'redis', port: 6379 }],
  master: null,
  tls: false,
  username: null,
  password: null,
  db: 0,
};

describe('parseRedisUrl', () => {
  it.each([
    ['redis://redis', PLAIN],
    ['redis://redis/', PLAIN],
    ['redis://10.0.0.9:7000/3', { ...PLAIN, hosts: [{ host: '10.0.0.9', port: 7000 }], db: 3 }],
    ['rediss://[::1]:1', { ...PLAIN, hosts: [{ host: '::1', port: 1 }], tls: true }],
    ['redis://:se%40cret@redis', { ...PLAIN, password: 'se@cret' }],
    ['redis://ann:a:b@redis', { ...PLAIN, username: 'ann', password: 'a:b' }],
    [
      'rediss+sentinel://ann:pw@a,b:5/main/2',
      {
        hosts: [
          { host: 'a', port: 26379 },
          { host: 'b', port: 5 },
        ],
        master: 'main',
        tls: true,
        username: 'ann',
        password: 'pw',
        db: 2,
      },
    ],
  ])('reads %s', (text, expected) => {
    expect(isRedisUrl(text)).toBe(true);
    expect(parseRedisUrl(text)).toEqual(expected);
  });

  it.each([
    'redis://',
    'http://redis',
    'redis://redis:0',
    'redis://redis:65536',
    'redis://a,b',
    'redis://redis/one',
    'redis://redis/1/2',
    'redis+sentinel://a,b',
    'redis+sentinel://a,,b/main',
  ])('refuses %s and says what is expected', (text) => {
    expect(() => parseRedisUrl(text)).toThrow(/rendezvous is .*expected redis:\/\//);
  });

  it('takes a host and port for the address of a coordinator', () => {
    expect(isRedisUrl('127.0.0.1:7100')).toBe(false);
  });

  it('shows no password, neither in a log nor in an error', () => {
    expect(maskRedisUrl('redis+sentinel://ann:p:w@a,b/main')).toBe('redis+sentinel://ann:***@a,b/main');
    expect(maskRedisUrl('redis://redis/1')).toBe('redis://redis/1');
    expect(() => parseRedisUrl('redis://:secret@redis/x')).not.toThrow(/secret/);
  });
});
