import { resolveConfig, type Check, type Config, type Options } from '@ulysses/runtime';

/** The two names of one setting: `--store-bytes` and `ULYSSES_STORE_BYTES`. */
export function named(flag: string): { readonly flag: string; readonly env: string } {
  return { flag, env: `ULYSSES_${flag.toUpperCase().replaceAll('-', '_')}` };
}

/** Flag, then variable, then default. Throws one CONFIG error with every problem, those that `checks` find too. */
export function readConfig<Set extends Options>(
  options: Set,
  argv: readonly string[],
  checks: readonly Check<Set>[] = [],
): Config<Set> {
  return resolveConfig(options, { argv, env: process.env }, checks);
}

/** The environment for a child process: this one's and `more`. */
export function environmentWith(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return { ...process.env, ...more };
}
