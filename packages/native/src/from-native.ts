import { UlyssesError, isErrorCode, toUlyssesError } from '@ulysses/errors';

/** Fields of an error text of the addon: this word, code, message, then field, value and expected if it is about one. */
const MARK = 'ulysses';
const SEPARATOR = '\u{1f}';

/** An error of the addon as one of ours. Any other, such as an argument of a wrong type, is a broken invariant. */
export function fromNative(thrown: unknown): UlyssesError {
  if (!(thrown instanceof Error) || thrown instanceof UlyssesError) return toUlyssesError(thrown);
  const [mark, code, message, field, value, expected] = thrown.message.split(SEPARATOR);
  if (mark !== MARK || code === undefined || message === undefined || !isErrorCode(code)) {
    return toUlyssesError(thrown);
  }
  return new UlyssesError(code, message, field === undefined ? {} : { field, value, expected });
}

/** Calls the addon and rebuilds its errors. */
export function native<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw fromNative(thrown);
  }
}
