import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { resolveConfig, type Config, type Options } from '@ulysses/runtime';

/** The two names of one setting: `--store-bytes` and `ULYSSES_STORE_BYTES`. */
export function named(flag: string): { readonly flag: string; readonly env: string } {
  return { flag, env: `ULYSSES_${flag.toUpperCase().replaceAll('-', '_')}` };
}

/**
 * Flag, then variable, then default. Throws one CONFIG error with every problem; `check` adds those that no single
 * option can see, and gets null when some option has no value.
 */
export function readConfig<Set extends Options>(
  options: Set,
  argv: readonly string[],
  check: (config: Config<Set> | null) => readonly string[] = () => [],
): Config<Set> {
  let config: Config<Set>;
  try {
    config = resolveConfig(options, { argv, env: process.env });
  } catch (thrown) {
    const { message } = toUlyssesError(thrown);
    throw new UlyssesError('CONFIG', [message, ...check(null)].join('\n  '), {}, thrown);
  }
  const problems = check(config);
  if (problems.length === 0) return config;
  throw new UlyssesError('CONFIG', ['the configuration has problems:', ...problems].join('\n  '));
}

/** The environment for a child process: this one's and `more`. */
export function environmentWith(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return { ...process.env, ...more };
}
