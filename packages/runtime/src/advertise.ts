import { fieldError } from '@ulysses/errors';

/**
 * The address that others dial for a port that listens on `listening` (`host:port`, the real port). `advertised` is what
 * the operator said: `host`, `host:port`, or null for the address itself. CONFIG when nobody could dial it.
 */
export function advertisedAddress(flag: string, listening: string, advertised: string | null): string {
  const port = /:(\d+)$/.exec(listening)?.[1] ?? '';
  if (advertised === null) {
    if (!isWildcard(listening)) return listening;
    throw fieldError(
      'CONFIG',
      flag,
      null,
      `HOST or HOST:PORT that others can dial, as the port listens on ${listening}`,
    );
  }
  const address = /:\d{1,5}$/.test(advertised) ? advertised : `${advertised}:${port}`;
  if (/^[^\s]+:\d{1,5}$/.test(address) && !isWildcard(address)) return address;
  throw fieldError('CONFIG', flag, advertised, 'HOST or HOST:PORT that others can dial');
}

function isWildcard(address: string): boolean {
  return /^(0\.0\.0\.0|\[::\]|\*):/.test(address);
}
