import { UlyssesError, describe, toUlyssesError } from '@ulysses/errors';
import type { Option } from './options.js';

export type Options = Readonly<Record<string, Option<unknown>>>;

/** The values of a set of options, nothing optional left. */
export type Config<Set extends Options> = {
  readonly [Name in keyof Set]: Set[Name] extends Option<infer T> ? T : never;
};

export interface ConfigSources {
  /** Arguments after the program and its subcommand. */
  readonly argv: readonly string[];
  /** `process.env`. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * What no option can see alone: throws CONFIG, or returns what is wrong. One that reads an option which has no value is passed over,
 * as that option's own problem comes first; so a check is to read what it is about and nothing else.
 */
export type Check<Set extends Options> = (config: Config<Set>) => unknown;

/**
 * Resolves every option: flag, then variable, then default. Throws one CONFIG error that lists every problem: unknown
 * flags, flags given twice, values that do not parse, values that are missing, and what `checks` find. An empty variable
 * counts as not set.
 */
export function resolveConfig<Set extends Options>(
  options: Set,
  { argv, env }: ConfigSources,
  checks: readonly Check<Set>[] = [],
): Config<Set> {
  const problems: string[] = [];
  const flags = readFlags(options, argv, problems);
  const values = Object.entries(options).map(([name, option]) => {
    const variable = option.env === null ? undefined : env[option.env];
    const text = flags.get(option.flag) ?? (variable === '' ? undefined : variable);
    const source = option.env === null || flags.has(option.flag) ? `--${option.flag}` : option.env;
    return [name, value(option, text, source, problems)] as const;
  });
  const config = Object.fromEntries(values) as Config<Set>;
  problems.push(...checks.flatMap((check) => found(check, config)));
  if (problems.length === 0) return config;
  throw new UlyssesError('CONFIG', ['the configuration has problems:', ...problems].join('\n  '), {
    problems,
  });
}

const NO_VALUE = new Error('the option has no value');

function found<Set extends Options>(check: Check<Set>, config: Config<Set>): readonly string[] {
  const known = new Proxy(config, {
    get: (values, name) => {
      const read: unknown = Reflect.get(values, name);
      if (read === undefined) throw NO_VALUE;
      return read;
    },
  });
  try {
    const returned = check(known);
    return Array.isArray(returned) ? (returned as readonly string[]) : [];
  } catch (thrown) {
    if (thrown === NO_VALUE) return [];
    const error = toUlyssesError(thrown);
    if (error.code !== 'CONFIG') throw error;
    return [error.message];
  }
}

/** Options as lines for `--help`: flag, sentence, variable and default. */
export function helpText(options: Options): string {
  const rows = Object.values(options).map((option) => {
    const { flag, valueName, help, env, fallback } = option;
    const otherwise = fallback === null ? 'required' : `default: ${fallback.text}`;
    const left = valueName === null ? `--[no-]${flag}` : `--${flag} ${valueName}`;
    return [left, `${help} [${env === null ? '' : `${env}; `}${otherwise}]`] as const;
  });
  return rows.map(([left, right]) => `  ${left}\n${wrap(right, 90, '      ')}`).join('\n');
}

function value(
  option: Option<unknown>,
  text: string | undefined,
  source: string,
  problems: string[],
): unknown {
  if (text === undefined) {
    if (option.fallback !== null) return option.fallback.value;
    const or = option.env === null ? '' : ` (or set ${option.env})`;
    problems.push(`--${option.flag} is missing, expected ${option.expected}${or}`);
    return undefined;
  }
  const parsed = option.parse(text);
  if (parsed !== null) return parsed;
  problems.push(`${source} is ${describe(text)}, expected ${option.expected}`);
  return undefined;
}

/** Text of every flag given, by flag name. */
function readFlags(options: Options, argv: readonly string[], problems: string[]): Map<string, string> {
  const known = new Map(Object.values(options).map((option) => [option.flag, option]));
  const flags = new Map<string, string>();
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i]!;
    const [, written, inline] = /^--([^=]+)(?:=(.*))?$/s.exec(argument) ?? [];
    const negated = written?.startsWith('no-') === true && known.get(written.slice(3))?.valueName === null;
    const name = negated ? written.slice(3) : (written ?? '');
    const option = known.get(name);
    if (option === undefined) {
      problems.push(`${describe(argument)} is not an option, expected ${listFlags(options)}`);
      continue;
    }
    const isSwitch = option.valueName === null;
    const text = inline ?? (isSwitch ? String(!negated) : argv[++i]);
    if (flags.has(name)) problems.push(`--${name} is given twice, expected once`);
    if (text === undefined) problems.push(`--${name} has no value, expected ${option.expected}`);
    else flags.set(name, text);
  }
  return flags;
}

function listFlags(options: Options): string {
  const flags = Object.values(options).map(({ flag }) => `--${flag}`);
  return flags.length === 0 ? 'none' : `one of ${flags.join(', ')}`;
}

function wrap(text: string, columns: number, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].map((each) => `${indent}${each}`).join('\n');
}
