import { toUlyssesError, UlyssesError } from '@ulysses/errors';
import { helpText, resolveConfig, type Check, type Config, type Options } from '@ulysses/runtime';

/** What a bench says of itself when it is asked, and what it can be told. */
export interface Bench<Set extends Options> {
  /** As it is started: `npm run bench:step`. */
  readonly command: string;
  readonly about: string;
  /** How long, on two cores of a machine with nothing beside it. */
  readonly takes: string;
  readonly options: Set;
  readonly checks?: readonly Check<Set>[];
  /** What it measures, if it can be told to measure less: those of these names, or those whose names hold all of these words. */
  readonly cases?: {
    readonly by: 'name' | 'words';
    readonly of: (flags: Config<Set>) => readonly string[];
  };
}

export interface CommandLine<Set extends Options> {
  readonly flags: Config<Set>;
  /** Whether a case is asked for; every case is when none is named. */
  readonly wants: (name: string) => boolean;
  /** Whether it is told to measure less than everything. */
  readonly isNarrowed: boolean;
}

/** Ends the process when help is asked for (0), or something that there is not (2): nothing is measured for a misspelt flag. */
export function readCommandLine<Set extends Options>(
  bench: Bench<Set>,
  argv: readonly string[] = process.argv.slice(2),
): CommandLine<Set> {
  if (argv.includes('--help') || argv.includes('-h')) {
    console.log(benchHelp(bench));
    process.exit(0);
  }
  try {
    return parseCommandLine(bench, argv);
  } catch (thrown) {
    const { code, message } = toUlyssesError(thrown);
    console.error(`${bench.command}: ${code}: ${message}`);
    process.exit(2);
  }
}

/** @throws CONFIG for an unknown flag or case, and for a value that is none. */
export function parseCommandLine<Set extends Options>(
  { options, checks, cases }: Bench<Set>,
  argv: readonly string[],
): CommandLine<Set> {
  const firstFlag = argv.findIndex((argument) => argument.startsWith('-'));
  const named = cases === undefined ? 0 : firstFlag === -1 ? argv.length : firstFlag;
  const words = argv.slice(0, named);
  const flags = resolveConfig(options, { argv: argv.slice(named), env: {} }, checks);
  if (cases === undefined || words.length === 0) return { flags, wants: () => true, isNarrowed: false };
  const known = cases.of(flags);
  const wants = (name: string): boolean =>
    cases.by === 'name' ? words.includes(name) : words.every((word) => name.includes(word));
  const missing = cases.by === 'words' ? words : words.filter((word) => !known.includes(word));
  if (cases.by === 'words' ? known.some(wants) : missing.length === 0)
    return { flags, wants, isNarrowed: true };
  const asked = missing.map((word) => `"${word}"`).join(', ');
  throw new UlyssesError('CONFIG', `there is no case ${asked}, expected some of: ${known.join(', ')}`, {
    missing,
  });
}

export function benchHelp<Set extends Options>({
  command,
  about,
  takes,
  options,
  cases,
}: Bench<Set>): string {
  const named = cases === undefined ? '' : `[${cases.by === 'name' ? 'CASE' : 'WORD'}...] `;
  const paragraphs = [`Usage: ${command} -- ${named}[options]`, about, takes];
  if (cases !== undefined) {
    const which = cases.by === 'name' ? 'of them' : 'cases whose names hold every WORD';
    const list = cases.of(resolveConfig(options, { argv: [], env: {} })).map((name) => `  ${name}`);
    paragraphs.push(
      `Cases; with arguments, in quotes where names have spaces, only those ${which}:\n${list.join('\n')}`,
    );
  }
  const own = Object.keys(options).length === 0 ? [] : [helpText(options)];
  return [...paragraphs, ['Options:', ...own, '  --help\n      Shows this.'].join('\n')].join('\n\n');
}

/** For a program that only another one starts, over an IPC channel. */
export function requireParent(parent: string, argv: readonly string[] = process.argv.slice(2)): void {
  const text = `A process that ${parent} starts and talks to; alone it does nothing.`;
  if (argv.includes('--help')) {
    console.log(text);
    process.exit(0);
  }
  if (process.send !== undefined) return;
  console.error(text);
  process.exit(2);
}
