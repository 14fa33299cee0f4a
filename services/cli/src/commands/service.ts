import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Command } from '../command.js';
import { foreground } from '../launcher/signals.js';

export const rank: Command = service('rank', 'one unit owner, for a cluster that is started by hand');
export const coordinator: Command = service('coordinator', 'the coordinator, likewise');

/** Runs a service in the foreground with the same flags; it prints its own help and refuses what it does not know. */
function service(name: string, summary: string): Command {
  const program = fileURLToPath(new URL(`../../../${name}/dist/main.js`, import.meta.url));
  return {
    summary,
    help: null,
    // With an IPC channel the service ends when this process is killed.
    run: (argv) =>
      foreground(fork(program, argv, { execArgv: [], stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })),
  };
}
