import { fieldError } from '@ulysses/errors';
import { fileOption, stringOption } from './options.js';

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

function pathOption(what: string, help: string) {
  return fileOption({
    flag: `tls-${what}`,
    env: `ULYSSES_TLS_${what.toUpperCase()}`,
    default: null,
    help,
  });
}
