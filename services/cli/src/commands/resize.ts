import type { CoordinatorClient } from '@ulysses/rpc';
import { durationOption, helpText } from '@ulysses/runtime';
import type { Command } from '../command.js';
import { named, readConfig } from '../config.js';
import { LEADER_OPTIONS, askLeader, LEADER_CHECKS, openCoordinators } from '../leader.js';

const OPTIONS = {
  ...LEADER_OPTIONS,
  timeout: durationOption({
    ...named('timeout'),
    default: 30_000,
    minMs: 1,
    help: 'Longest to wait; running steps are finished first.',
  }),
};

interface Change {
  readonly word: string;
  readonly summary: string;
  /** What the number is. */
  readonly operand: string;
  readonly explanation: string;
  readonly example: string;
  readonly call: (coordinator: CoordinatorClient, number: number, deadlineMs: number) => Promise<unknown>;
  readonly done: (number: number) => string;
}

export const scale: Command = change({
  word: 'scale',
  summary: 'change how many ranks a running cluster has',
  operand: 'N',
  explanation: `Sets how many ranks make the cluster complete. With more, the ranks of now serve until the new ones have joined; with
fewer, running steps are finished first and the ranks beyond N lose their place, their processes stay and wait for one.`,
  example: 'ulysses scale 6 --address 127.0.0.1:7100',
  call: (coordinator, cpSize, deadlineMs) => coordinator.scale({ cpSize }, { deadlineMs }),
  done: (cpSize) => `the cluster has ${cpSize} ranks once they have joined`,
});

export const drain: Command = change({
  word: 'drain',
  summary: 'have one rank finish its steps and end',
  operand: 'RANK',
  explanation: `Running steps are finished, no new one begins, the rank leaves and its process ends. Then another may take its place, or, with
--on-loss shrink of the coordinator, the cluster goes on with one rank less.`,
  example: 'ulysses drain 2 --address 127.0.0.1:7100',
  call: (coordinator, rank, deadlineMs) => coordinator.drain({ rank }, { deadlineMs }),
  done: (rank) => `rank ${rank} has left`,
});

function change({ word, summary, operand, explanation, example, call, done }: Change): Command {
  return {
    summary,
    help: `ulysses ${word}: ${summary}.

Usage: ulysses ${word} ${operand} (--address HOST:PORT[,…] | --rendezvous URL) [options]

${explanation}

${helpText(OPTIONS)}

Example: ${example}`,
    async run([text = '', ...argv]) {
      const config = readConfig(OPTIONS, argv, [
        () => (/^\d{1,9}$/.test(text) ? [] : [`${operand} is ${JSON.stringify(text)}, expected a number`]),
        ...LEADER_CHECKS,
      ]);
      const { timeout } = config;
      const coordinators = await openCoordinators(config, timeout);
      try {
        // Asked once and only of one that leads: a change that may have happened is not asked for again.
        const { coordinator } = await askLeader(coordinators, timeout);
        await call(coordinator, Number(text), timeout);
        console.log(done(Number(text)));
        return 0;
      } finally {
        coordinators.close();
      }
    },
  };
}
