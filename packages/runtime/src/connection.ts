import { UlyssesError } from '@ulysses/errors';
import { durationOption, switchOption } from './options.js';
import { TLS_OPTIONS, tlsFilesOf, type TlsFiles, type TlsSettings } from './tls.js';

/** How a process makes connections and keeps them: dialled and accepted, of control and tensor ports. */
export interface ConnectionOptions {
  /** Mutual TLS; null: plaintext. @default null */
  readonly tls?: TlsFiles | null;
  /** Plaintext beyond loopback is meant. @default false */
  readonly insecure?: boolean;
  /** How long a peer may be silent before its connection is lost. @default SILENT_PEER_MS */
  readonly silentPeerMs?: number;
}

export const SILENT_PEER_MS = 20_000;
/** A living peer of a busy machine has to answer within half of it. */
export const LEAST_SILENT_PEER_MS = 1000;

/** Settings of every process that dials a port of ours. */
export const CONNECTION_OPTIONS = {
  ...TLS_OPTIONS,
  insecure: switchOption({
    flag: 'insecure',
    env: 'ULYSSES_INSECURE',
    help: 'Plaintext beyond loopback, where it dials and where it listens: whoever is on the way or reaches the port is trusted.',
  }),
  silentPeer: durationOption({
    flag: 'silent-peer',
    env: 'ULYSSES_SILENT_PEER',
    default: SILENT_PEER_MS,
    minMs: LEAST_SILENT_PEER_MS,
    help: 'How long a peer may be silent before its connection is lost, and with it their step; keep it below the shortest deadline of a step.',
  }),
};

/** Beside them, for a process that listens for clients of any speed. */
export const SLOW_CLIENT_OPTION = {
  slowClient: durationOption({
    flag: 'slow-client',
    env: 'ULYSSES_SLOW_CLIENT',
    default: 30_000,
    minMs: 100,
    help: 'How long a client may take for a handshake, for a message that it has begun, and to take what it is sent, before it is ended.',
  }),
};

export interface ConnectionSettings extends TlsSettings {
  readonly insecure: boolean;
  readonly silentPeer: number;
}

/** CONFIG when only some of the files of TLS are named. */
export function connectionOptionsOf(config: ConnectionSettings): Required<ConnectionOptions> {
  return { tls: tlsFilesOf(config), insecure: config.insecure, silentPeerMs: config.silentPeer };
}

/** CONFIG for plaintext that strangers could reach, read or answer, unless the operator says that this is meant. */
export function requirePrivate(
  field: string,
  address: string,
  { tls = null, insecure = false }: ConnectionOptions,
): void {
  if (tls !== null || insecure || isLoopback(address)) return;
  throw new UlyssesError(
    'CONFIG',
    `${field} is ${JSON.stringify(address)}, expected a loopback address such as 127.0.0.1:7100 without TLS: ` +
      'give --tls-cert, --tls-key and --tls-ca (tls in a client), or --insecure (insecure) if all who reach it are trusted',
    { field, value: address, expected: 'a loopback address, TLS, or insecure' },
  );
}

/** As `requirePrivate`, of settings; whether all files of TLS are named is for `tlsFilesOf` to say. */
export function requirePrivateSetting(
  field: string,
  address: string,
  { insecure, tlsCert }: Pick<ConnectionSettings, 'insecure' | 'tlsCert'>,
): void {
  requirePrivate(field, address, { insecure: insecure || tlsCert !== null });
}

/** Names are taken at their word: only `localhost` is known to mean this host. */
function isLoopback(address: string): boolean {
  return /^(127(\.\d{1,3}){3}|localhost|\[::1\]|\[::ffff:127(\.\d{1,3}){3}\])(:|$)/.test(address);
}
