#!/usr/bin/env node
import { UlyssesError, describe, toUlyssesError, type ErrorCode } from '@ulysses/errors';
import type { Command } from './command.js';
import { plan } from './commands/plan.js';
import { coordinator, rank } from './commands/service.js';
import { drain, scale } from './commands/resize.js';
import { run } from './commands/run.js';
import { status } from './commands/status.js';
import { trace } from './commands/trace.js';
import { up } from './commands/up.js';

const COMMANDS: ReadonlyMap<string, Command> = new Map(
  Object.entries({ up, run, plan, status, trace, scale, drain, rank, coordinator }),
);

/** Failures after which repeating the same command line cannot help: exit code 2. */
const WRONG_CALL: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['CONFIG', 'UNSUPPORTED', 'SHAPE_MISMATCH']);

async function main([word, ...argv]: readonly string[]): Promise<number> {
  if (word === '--help' || word === '-h') {
    console.log(overview());
    return 0;
  }
  const command = word === undefined ? undefined : COMMANDS.get(word);
  if (command === undefined) {
    const found = word === undefined ? 'no command is given' : `${describe(word)} is not a command`;
    throw new UlyssesError('CONFIG', `${found}, expected one of ${[...COMMANDS.keys()].join(', ')}`);
  }
  if (command.help !== null && asksForHelp(argv)) {
    console.log(command.help);
    return 0;
  }
  return await command.run(argv);
}

/** What follows `--` belongs to another program. */
function asksForHelp(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  const own = end === -1 ? argv : argv.slice(0, end);
  return own.includes('--help') || own.includes('-h');
}

function overview(): string {
  const commands = [...COMMANDS].map(([word, { summary }]) => `  ${word.padEnd(13)}${summary}`);
  return `Usage: ulysses COMMAND [options]; ulysses COMMAND --help shows the options and examples

${commands.join('\n')}

Examples:
  ulysses up --context-parallel-size 4
  ulysses run --context-parallel-size 4 -- node train.js
  ulysses plan --context-parallel-size 8 --sequence 8190 --heads 28 --kv-heads 4 --causal`;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  const { code, message } = toUlyssesError(thrown);
  console.error(`ulysses: ${code}: ${message}`);
  process.exitCode = WRONG_CALL.has(code) ? 2 : 1;
}
