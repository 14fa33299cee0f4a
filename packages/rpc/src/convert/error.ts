import { UlyssesError, describe, isErrorCode, type ErrorDetails } from '@ulysses/errors';
import type { WireInput, WireOutput } from '../load-proto.js';
import { required } from './fields.js';

// An error travels in trailers too, whose size is limited: beyond these lengths text is cut.
const MESSAGE_CHARACTERS = 2000;
const DETAIL_CHARACTERS = 500;
const MOST_DETAILS = 16;

/** Code, message and details; details become text, and the cause stays here. */
export function errorToProto(error: UlyssesError): WireInput<'Error'> {
  const details = Object.entries(error.details)
    .filter(([, value]) => value !== undefined)
    .slice(0, MOST_DETAILS)
    .map(([name, value]) => [name, cut(asText(value), DETAIL_CHARACTERS)] as const);
  return {
    code: error.code,
    message: cut(error.message, MESSAGE_CHARACTERS),
    details: Object.fromEntries(details),
  };
}

/** A code this build does not know becomes INVARIANT, with the code in the message. */
export function errorFromProto(message: WireOutput<'Error'> | null, path: string): UlyssesError {
  const { code, message: text, details } = required(message, path, 'Error');
  if (isErrorCode(code)) return new UlyssesError(code, text, { ...details } satisfies ErrorDetails);
  return new UlyssesError('INVARIANT', `unknown error code ${JSON.stringify(code)}: ${text}`, { ...details });
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : describe(value);
}

/** Also repairs half surrogate pairs, which percent-encoding refuses. */
export function cut(text: string, characters: number): string {
  const short = text.length > characters ? `${text.slice(0, characters)}…` : text;
  return Buffer.from(short, 'utf8').toString('utf8');
}
