import { fieldError } from '@ulysses/errors';

/** Where Redis is and who we are to it. */
export interface RedisEndpoint {
  /** Of Redis itself, or of the Sentinels. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** Name of the master that Sentinels know; null: no Sentinels. */
  readonly master: string | null;
  readonly tls: boolean;
  readonly username: string | null;
  readonly password: string | null;
  readonly db: number;
}

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;
const EXPECTED =
  'redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, or redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/MASTER[/DB]';
// new URL() knows one host only, so the parts are taken apart here.
const URL_FORM = /^(rediss?)(\+sentinel)?:\/\/(?:([^@/]*)@)?([^@/]+)(?:\/([^?#]*))?$/;
const HOST_FORM = /^(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+)(?::(\d{1,5}))?$/;

/** True for what `parseRedisUrl` reads; a coordinator's `host:port` is not one. */
export function isRedisUrl(text: string): boolean {
  return /^rediss?(\+sentinel)?:/.test(text);
}

/** Throws CONFIG, with the password masked. */
export function parseRedisUrl(text: string): RedisEndpoint {
  const [, scheme, sentinel, credentials, hostList = '', path = ''] = URL_FORM.exec(text) ?? [];
  const parts = path.split('/').filter((part) => part !== '');
  const master = sentinel === undefined ? null : (parts.shift() ?? '');
  const db = parts.length === 0 ? 0 : Number(parts[0]);
  const hosts = hostList.split(',').map((each) => {
    const [, host = '', port] = HOST_FORM.exec(each) ?? [];
    const number = port === undefined ? (master === null ? REDIS_PORT : SENTINEL_PORT) : Number(port);
    return { host: host.replace(/^\[|\]$/g, ''), port: number };
  });
  const wrong =
    scheme === undefined ||
    hosts.some(({ host, port }) => host === '' || port < 1 || port > 65_535) ||
    (master === null ? hosts.length > 1 : master === '') ||
    parts.length > 1 ||
    !Number.isSafeInteger(db) ||
    db < 0;
  if (wrong) throw fieldError('CONFIG', 'rendezvous', maskRedisUrl(text), EXPECTED);
  const separator = credentials?.indexOf(':') ?? -1;
  const user = separator === -1 ? (credentials ?? '') : (credentials ?? '').slice(0, separator);
  return {
    hosts,
    master,
    tls: scheme === 'rediss',
    username: user === '' ? null : decodeURIComponent(user),
    password: separator === -1 ? null : decodeURIComponent((credentials ?? '').slice(separator + 1)),
    db,
  };
}

/** The URL as it may be logged. */
export function maskRedisUrl(text: string): string {
  return text.replace(/^([a-z+]+:\/\/[^:@/]*:)[^@]*@/, '$1***@');
}
