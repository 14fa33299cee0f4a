import { ERROR_TABLE, type ErrorCode } from './codes.js';

/** Plain fields that travel with an error; `field`, `value` and `expected` are what a message is built from. */
export interface ErrorDetails {
  readonly field?: string;
  readonly value?: unknown;
  readonly expected?: string;
  /** Rank or owner the failure is about, for example `rank 2` or `owner 0`. */
  readonly peer?: string;
  readonly [name: string]: unknown;
}

/** The one error class of the project. `code` is stable; `message` is for people. */
export class UlyssesError extends Error {
  override readonly name = 'UlyssesError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  /** True when repeating the step, after the next epoch if need be, can succeed. */
  get retryable(): boolean {
    return ERROR_TABLE[this.code].retryable;
  }
}

/** An error about one field of a call: names the field, what came and what was expected. */
export function fieldError(
  code: ErrorCode,
  field: string,
  value: unknown,
  expected: string,
  more: ErrorDetails = {},
): UlyssesError {
  return new UlyssesError(code, `${field} is ${describe(value)}, expected ${expected}`, {
    ...more,
    field,
    value: describe(value),
    expected,
  });
}

/** A value as it appears in a message: strings quoted, long values cut at 200 characters. */
export function describe(value: unknown): string {
  const text =
    typeof value === 'string'
      ? JSON.stringify(value)
      : ArrayBuffer.isView(value)
        ? `${value.constructor.name} of ${value.byteLength} bytes`
        : typeof value === 'object' && value !== null
          ? describeObject(value)
          : String(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** Whatever JSON cannot say is named by its class: a message about a bad value must not fail on it. */
function describeObject(value: object): string {
  try {
    return JSON.stringify(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** Our own broken invariant; `condition` narrows. */
export function invariant(
  condition: unknown,
  message: string,
  details: ErrorDetails = {},
): asserts condition {
  if (!condition) throw new UlyssesError('INVARIANT', message, details);
}

/** Any thrown value as a UlyssesError; unknown ones become INVARIANT with the original as cause. */
export function toUlyssesError(thrown: unknown): UlyssesError {
  if (thrown instanceof UlyssesError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (thrown instanceof Error && thrown.name === 'AbortError') {
    return new UlyssesError('CANCELLED', 'the call was cancelled', {}, thrown);
  }
  if (thrown instanceof Error && thrown.name === 'TimeoutError') {
    return new UlyssesError('DEADLINE', message, {}, thrown);
  }
  return new UlyssesError('INVARIANT', message, {}, thrown);
}
