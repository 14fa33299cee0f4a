import { UlyssesError, type ErrorCode } from '@ulysses/errors';

/** First word of a Redis error reply to the code of ours; what is not here is a bug of our scripts. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  NOAUTH: 'UNAUTHENTICATED',
  WRONGPASS: 'UNAUTHENTICATED',
  NOPERM: 'FORBIDDEN',
  // The memory limit is reached and its policy evicts nothing.
  OOM: 'OVERLOADED',
  // A replica, one that starts, or one that lost its master: after reconnecting there may be a better one.
  READONLY: 'PEER_LOST',
  LOADING: 'PEER_LOST',
  MASTERDOWN: 'PEER_LOST',
  NOREPLICAS: 'PEER_LOST',
  BUSY: 'PEER_LOST',
  MISCONF: 'PEER_LOST',
};

/** An error of ioredis in our words; `where` says which Redis. */
export function fromRedisError(thrown: unknown, where: string): UlyssesError {
  if (thrown instanceof UlyssesError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const isReply = thrown instanceof Error && thrown.name === 'ReplyError';
  const word = message.split(' ', 1)[0] ?? '';
  // Redis before 6 says ERR for a wrong password.
  const code = isReply
    ? (CODES[word] ?? (/invalid (username-)?password/i.test(message) ? 'UNAUTHENTICATED' : 'INVARIANT'))
    : 'PEER_LOST';
  return new UlyssesError(code, `Redis at ${where}: ${message}`, { peer: `redis ${where}` }, thrown);
}

/** True when only an operator can help, so that waiting for the connection is in vain. */
export function isRefusal({ code }: UlyssesError): boolean {
  return code === 'UNAUTHENTICATED' || code === 'FORBIDDEN';
}
