import { writeFileSync } from 'node:fs';
import { UlyssesError } from '@ulysses/errors';
import { helpText, stringOption } from '@ulysses/runtime';
import type { Command } from '../command.js';
import { named, readConfig } from '../config.js';
import { ANSWER_TIMEOUT, LEADER_OPTIONS, askLeader, LEADER_CHECKS, openCoordinators } from '../leader.js';
import { chromeTrace } from '../trace/chrome-trace.js';
import { formatTrace } from '../trace/format-trace.js';
import { tracedProcesses } from '../trace/traced-process.js';

const OPTIONS = {
  ...LEADER_OPTIONS,
  timeout: ANSWER_TIMEOUT,
  out: stringOption({
    ...named('out'),
    valueName: 'PATH',
    default: null,
    help: 'Also write the trace there as JSON that chrome://tracing and Perfetto read.',
  }),
};

const HELP = `ulysses trace: draws what coordinator and ranks did with a step, and when.

Usage: ulysses trace STEP --address HOST:PORT [options]

STEP is "last", or job/session/call/pass/attempt, or parts of it from the left: the newest step that it fits is taken. The
last 256 steps are known.

${helpText(OPTIONS)}

Examples:
  ulysses trace last --address 127.0.0.1:7100
  ulysses trace demo/f3a1/12/backward --address 127.0.0.1:7100 --out step.json`;

export const trace: Command = {
  summary: 'draw what coordinator and ranks did with a step',
  help: HELP,
  async run([step = '', ...argv]) {
    const config = readConfig(OPTIONS, argv, [
      () =>
        step === '' || step.startsWith('--')
          ? ['STEP is missing, expected last or job/session/call/pass']
          : [],
      ...LEADER_CHECKS,
    ]);
    const coordinators = await openCoordinators(config, config.timeout);
    try {
      const { status } = await askLeader(coordinators, config.timeout, { trace: step });
      const processes = tracedProcesses(status);
      const [first] = processes;
      if (first === undefined) {
        const expected = 'one of the last 256: job/session/call/pass, or last';
        throw new UlyssesError(
          'CONFIG',
          `STEP is ${JSON.stringify(step)}, which is no known step; expected ${expected}`,
        );
      }
      if (config.out !== null) writeFileSync(config.out, chromeTrace(processes));
      console.log(formatTrace(processes));
      return 0;
    } finally {
      coordinators.close();
    }
  },
};
