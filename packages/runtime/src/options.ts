import { accessSync, constants } from 'node:fs';
import { describe } from '@ulysses/errors';

/** One setting: a flag, an environment variable, a default. Made by the functions below. */
export interface Option<T> {
  /** Without the dashes, as in `context-parallel-size`. */
  readonly flag: string;
  /** Environment variable; null: none, a flag is all there is. */
  readonly env: string | null;
  /** One sentence for `--help`. */
  readonly help: string;
  /** What stands for the value in `--help`; null: a switch, which needs none. */
  readonly valueName: string | null;
  /** Reads the text of a flag or variable; null when it is not a value of this option. */
  readonly parse: (text: string) => T | null;
  /** What `parse` accepts, for the message. */
  readonly expected: string;
  readonly fallback: { readonly value: T; readonly text: string } | null;
}

interface Naming {
  readonly flag: string;
  /** Default: the flag in capitals with underscores. */
  readonly env?: string | null;
  readonly help: string;
}

/** `Default` is T, or null for "not set"; absent means that the option must be given. */
interface Defaulted<Default> extends Naming {
  readonly default?: Default;
}

type Choice<T extends string> = Defaulted<NoInfer<T> | null>;

export function stringOption(spec: Defaulted<string> & { readonly valueName: string }): Option<string>;
export function stringOption(
  spec: Defaulted<string | null> & { readonly valueName: string },
): Option<string | null>;
export function stringOption(
  spec: Defaulted<string | null> & { readonly valueName: string },
): Option<string | null> {
  return option(spec, spec.valueName, 'text that is not empty', (text) => (text === '' ? null : text));
}

/** The path of a file that can be read, or one of `words`. That it holds what it should is for who reads it to say. */
export function fileOption(spec: Defaulted<string> & { readonly words: readonly string[] }): Option<string>;
export function fileOption(
  spec: Defaulted<string | null> & { readonly words?: readonly string[] },
): Option<string | null>;
export function fileOption(
  spec: Defaulted<string | null> & { readonly words?: readonly string[] },
): Option<string | null> {
  const { words = [] } = spec;
  const expected = [...words, 'the path of a file that can be read'].join(', ');
  return option(spec, [...words, 'PATH'].join('|'), expected, (text) =>
    words.includes(text) || isReadable(text) ? text : null,
  );
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

export function integerOption(spec: Defaulted<number> & Bounds): Option<number>;
export function integerOption(spec: Defaulted<number | null> & Bounds): Option<number | null>;
export function integerOption(spec: Defaulted<number | null> & Bounds): Option<number | null> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = spec;
  const expected =
    spec.max === undefined ? `an integer, at least ${min}` : `an integer from ${min} to ${max}`;
  return option(spec, 'N', expected, (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : NaN;
    return value >= min && value <= max ? value : null;
  });
}

export function choiceOption<const T extends string>(
  choices: readonly T[],
  spec: Defaulted<NoInfer<T>>,
): Option<T>;
export function choiceOption<const T extends string>(
  choices: readonly T[],
  spec: Choice<T>,
): Option<T | null>;
export function choiceOption<const T extends string>(
  choices: readonly T[],
  spec: Choice<T>,
): Option<T | null> {
  return option(spec, choices.join('|'), `one of ${choices.join(', ')}`, (text) => {
    return choices.find((choice) => choice === text) ?? null;
  });
}

/** `--flag`, `--no-flag`; as a variable `1`, `true`, `0` or `false`. */
export function switchOption(spec: Naming & { readonly default?: boolean }): Option<boolean> {
  const values: Readonly<Record<string, boolean>> = { '1': true, true: true, '0': false, false: false };
  return option(
    { ...spec, default: spec.default ?? false },
    null,
    'true or false',
    (text) => values[text] ?? null,
  );
}

const MS_PER_UNIT: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A time in milliseconds, written `250ms`, `2s`, `1.5m` or `1h`. */
export function durationOption(spec: Defaulted<number> & { readonly minMs?: number }): Option<number> {
  const { minMs = 0 } = spec;
  const atLeast = minMs > 0 ? `, at least ${minMs}ms` : '';
  const expected = `a time such as 250ms, 2s, 1.5m or 1h${atLeast}`;
  const made = option<number>(spec, 'TIME', expected, (text) => {
    const ms = amount(text, MS_PER_UNIT);
    return ms !== null && ms >= minMs ? ms : null;
  });
  return withText(made, (ms) => (ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`));
}

const BYTES_PER_UNIT: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** A size in bytes, written `512MiB`, `1.5GiB` or `4096B`. */
export function bytesOption(spec: Defaulted<number>): Option<number>;
export function bytesOption(spec: Defaulted<number | null>): Option<number | null>;
export function bytesOption(spec: Defaulted<number | null>): Option<number | null> {
  const made = option<number | null>(spec, 'SIZE', 'a size such as 512MiB, 1.5GiB or 4096B', (text) => {
    return amount(text, BYTES_PER_UNIT);
  });
  return withText(made, (bytes) => {
    if (bytes === null) return 'none';
    const unit = Object.entries(BYTES_PER_UNIT).findLast(([, size]) => bytes >= size && bytes % size === 0);
    return unit === undefined ? `${bytes}B` : `${bytes / unit[1]}${unit[0]}`;
  });
}

/** A number with one of `units`, rounded to a whole; null for anything else. */
function amount(text: string, units: Readonly<Record<string, number>>): number | null {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([A-Za-z]+)$/.exec(text) ?? [];
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  if (digits === undefined || factor === undefined) return null;
  const value = Math.round(Number(digits) * factor);
  return Number.isSafeInteger(value) ? value : null;
}

function option<T>(
  spec: Defaulted<T>,
  valueName: string | null,
  expected: string,
  parse: (text: string) => T | null,
): Option<T> {
  const { flag, help } = spec;
  const env = spec.env === undefined ? flag.toUpperCase().replaceAll('-', '_') : spec.env;
  const fallback =
    spec.default === undefined ? null : { value: spec.default, text: defaultText(spec.default) };
  return { flag, env, help, valueName, parse, expected, fallback };
}

function defaultText(value: unknown): string {
  if (value === null) return 'none';
  return typeof value === 'string' ? value : describe(value);
}

function withText<T>(made: Option<T>, text: (value: T) => string): Option<T> {
  const { fallback } = made;
  return fallback === null ? made : { ...made, fallback: { ...fallback, text: text(fallback.value) } };
}
