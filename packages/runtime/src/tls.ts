import { fieldError, UlyssesError } from '@ulysses/errors';
import { durationOption, fileOption, stringOption, switchOption } from './options.js';

/**
 * PEM files of mutual TLS. They are looked at again for new connections, and those that changed are read again. One certificate is
 * shown to those who dial and to those who are dialled, so it must be good for both.
 */
export interface TlsFiles {
  /** Path of this process's certificate, with its intermediates. */
  readonly cert: string;
  readonly key: string;
  /** Path of the authorities whose certificates are accepted. */
  readonly ca: string;
  /** The name that certificates of dialled peers are to have; null or absent: the host that is dialled. */
  readonly serverName?: string | null;
}

/** Settings of every process that dials a port of ours. */
export const TLS_OPTIONS = {
  tlsCert: pathOption(
    'cert',
    'Certificate of this process with its intermediates (PEM); turns mutual TLS on.',
  ),
  tlsKey: pathOption('key', 'Key of that certificate (PEM).'),
  tlsCa: pathOption('ca', 'Authorities whose certificates are accepted (PEM).'),
  tlsName: stringOption({
    flag: 'tls-name',
    env: 'ULYSSES_TLS_NAME',
    valueName: 'NAME',
    default: null,
    help: 'Name that the certificates of dialled peers are to have; none: the host that is dialled.',
  }),
};

/** Beside them, for processes that listen. */
export const INSECURE_OPTION = {
  insecure: switchOption({
    flag: 'insecure',
    env: 'ULYSSES_INSECURE',
    help: 'Listen without TLS beyond loopback: whoever reaches the port is trusted.',
  }),
};

/** For a process that listens for clients of any speed. */
export const SLOW_CLIENT_OPTION = {
  slowClient: durationOption({
    flag: 'slow-client',
    env: 'ULYSSES_SLOW_CLIENT',
    default: 30_000,
    minMs: 100,
    help: 'How long a client may take for a handshake, for a message that it has begun, and to take what it is sent, before it is ended.',
  }),
};

export interface TlsSettings {
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  readonly tlsCa: string | null;
  readonly tlsName: string | null;
}

/** Null: plaintext. CONFIG when only some of the files are named. */
export function tlsFilesOf({ tlsCert, tlsKey, tlsCa, tlsName }: TlsSettings): TlsFiles | null {
  const files = { 'tls-cert': tlsCert, 'tls-key': tlsKey, 'tls-ca': tlsCa };
  if (tlsCert !== null && tlsKey !== null && tlsCa !== null) {
    return { cert: tlsCert, key: tlsKey, ca: tlsCa, serverName: tlsName };
  }
  const given = Object.entries(files).filter(([, path]) => path !== null);
  const [missing = ''] = Object.keys(files).filter((flag) => !given.some(([name]) => name === flag));
  if (given.length === 0 && tlsName === null) return null;
  throw fieldError('CONFIG', missing, null, 'a path: --tls-cert, --tls-key and --tls-ca go together');
}

/** CONFIG for a port that strangers could reach in plaintext, unless the operator says that this is meant. */
export function requirePrivate(flag: string, listen: string, tls: TlsFiles | null, insecure: boolean): void {
  if (tls !== null || insecure || isLoopback(listen)) return;
  throw new UlyssesError(
    'CONFIG',
    `${flag} is ${JSON.stringify(listen)}, expected a loopback address such as 127.0.0.1:0 without TLS: ` +
      'give --tls-cert, --tls-key and --tls-ca, or --insecure if all who reach it are trusted',
    { field: flag, value: listen, expected: 'a loopback address, TLS, or --insecure' },
  );
}

/** Names are taken at their word: only `localhost` is known to mean this host. */
function isLoopback(listen: string): boolean {
  return /^(127(\.\d{1,3}){3}|localhost|\[::1\]|\[::ffff:127(\.\d{1,3}){3}\]):/.test(listen);
}

function pathOption(what: string, help: string) {
  return fileOption({
    flag: `tls-${what}`,
    env: `ULYSSES_TLS_${what.toUpperCase()}`,
    default: null,
    help,
  });
}
