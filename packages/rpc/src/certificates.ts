import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { checkServerIdentity, createSecureContext, type PeerCertificate } from 'node:tls';
import { isIP } from 'node:net';
import {
  ServerCredentials,
  credentials,
  experimental,
  type ChannelCredentials,
  type ChannelOptions,
} from '@grpc/grpc-js';
import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import type { TlsFiles } from '@ulysses/runtime';

/** SNI must not be an address; what certificates are to name is checked apart from it. */
const NO_NAME = 'ulysses.invalid';

/** What the files hold. */
export interface Pem {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
}

type CaListener = Parameters<experimental.CertificateProvider['addCaCertificateListener']>[0];
type IdentityListener = Parameters<experimental.CertificateProvider['addIdentityCertificateListener']>[0];

/**
 * The files of mutual TLS, as grpc-js asks for them.
 *
 * C1: what it hands out fits together: while changed files do not, as when only one is written yet, those of before serve.
 */
export class Certificates implements experimental.CertificateProvider {
  readonly files: TlsFiles;
  #pem: Pem;
  #stamps: string;
  readonly #caListeners = new Set<CaListener>();
  readonly #identityListeners = new Set<IdentityListener>();

  /** @throws CONFIG for a file that cannot be used */
  constructor(files: TlsFiles) {
    this.files = files;
    this.#stamps = stampsOf(files);
    this.#pem = load(files);
  }

  get pem(): Pem {
    return this.#pem;
  }

  /** Reads the files again if they changed; false when they cannot be used. */
  refresh(): boolean {
    const stamps = stampsOf(this.files);
    if (stamps === this.#stamps) return true;
    try {
      this.#pem = load(this.files);
    } catch {
      return false;
    }
    this.#stamps = stamps;
    for (const listener of this.#caListeners) this.#tellCa(listener);
    for (const listener of this.#identityListeners) this.#tellIdentity(listener);
    return true;
  }

  // grpc-js hears of what there is in the next tick: it expects nothing sooner.

  addCaCertificateListener(listener: CaListener): void {
    this.#caListeners.add(listener);
    process.nextTick(() => {
      this.#tellCa(listener);
    });
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#caListeners.delete(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.add(listener);
    process.nextTick(() => {
      this.#tellIdentity(listener);
    });
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.delete(listener);
  }

  #tellCa(listener: CaListener): void {
    listener({ caCertificate: this.#pem.ca });
  }

  #tellIdentity(listener: IdentityListener): void {
    listener({ certificate: this.#pem.cert, privateKey: this.#pem.key });
  }
}

/** For a port: plaintext without certificates. */
export function serverCredentials(certificates: Certificates | null): ServerCredentials {
  if (certificates === null) return ServerCredentials.createInsecure();
  return experimental.createCertificateProviderServerCredentials(certificates, certificates, true);
}

/** For a connection to `address`, and the options that go with them. */
export function channelCredentials(
  certificates: Certificates | null,
  address: string,
): { readonly credentials: ChannelCredentials; readonly options: ChannelOptions } {
  if (certificates === null) return { credentials: credentials.createInsecure(), options: {} };
  const { servername, checkServerIdentity: check } = expectationOf(certificates.files, address);
  const verify = { checkServerIdentity: check };
  return {
    credentials: experimental.createCertificateProviderChannelCredentials(certificates, certificates, verify),
    options: { 'grpc.ssl_target_name_override': servername },
  };
}

/** What the certificate of the peer at `address` is to say, as options of `tls.connect`. */
export function expectationOf(
  { serverName }: TlsFiles,
  address: string,
): {
  readonly servername: string;
  readonly checkServerIdentity: (host: string, certificate: PeerCertificate) => Error | undefined;
} {
  const name = serverName ?? hostOf(address);
  return {
    servername: isIP(name) === 0 ? name : NO_NAME,
    checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
  };
}

export function hostOf(address: string): string {
  return address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

function load({ cert, key, ca }: TlsFiles): Pem {
  const pem = { cert: read('cert', cert), key: read('key', key), ca: read('ca', ca) };
  // OpenSSL takes authorities that it cannot parse for none.
  using('ca', ca, () => new X509Certificate(pem.ca));
  using('key', key, () => createSecureContext(pem));
  return pem;
}

function read(what: string, path: string): Buffer {
  return using(what, path, () => readFileSync(path));
}

function using<T>(what: string, path: string, use: () => T): T {
  try {
    return use();
  } catch (thrown) {
    const { message } = toUlyssesError(thrown);
    const details = {
      field: `tls.${what}`,
      value: path,
      expected: 'PEM files of one certificate and its key',
    };
    throw new UlyssesError('CONFIG', `tls.${what} ${path}: ${message}`, details, thrown);
  }
}

/** Changes whenever a file does. */
function stampsOf({ cert, key, ca }: TlsFiles): string {
  const stamps = [cert, key, ca].map((path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat === undefined ? null : [stat.mtimeMs, stat.size, stat.ino];
  });
  return JSON.stringify(stamps);
}
