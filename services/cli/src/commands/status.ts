import { connectCoordinator, type ClusterStatus, type RankStatus } from '@ulysses/rpc';
import { durationOption, helpText, stringOption, switchOption } from '@ulysses/runtime';
import type { Command } from '../command.js';
import { named, readConfig } from '../config.js';
import { formatBytes } from '../format-bytes.js';
import { formatTable, type Column } from '../format-table.js';

const OPTIONS = {
  address: stringOption({
    ...named('address'),
    valueName: 'HOST:PORT',
    help: 'The coordinator, as `ulysses up` prints it.',
  }),
  timeout: durationOption({
    ...named('timeout'),
    default: 5000,
    minMs: 1,
    help: 'Longest to wait for the answer.',
  }),
  json: switchOption({ ...named('json'), help: 'Print what the coordinator said as one JSON object.' }),
};

const HELP = `ulysses status: shows the ranks of a running cluster.

Usage: ulysses status --address HOST:PORT [options]

${helpText(OPTIONS)}

Examples:
  ulysses status --address 127.0.0.1:7100
  ulysses status --address 127.0.0.1:7100 --json | jq .epoch`;

export const status: Command = {
  summary: 'show the ranks of a running cluster',
  help: HELP,
  async run(argv) {
    const { address, timeout, json } = readConfig(OPTIONS, argv);
    const coordinator = connectCoordinator(address);
    try {
      const cluster = await coordinator.getStatus({}, { deadlineMs: timeout });
      console.log(json ? JSON.stringify(cluster, null, 2) : formatStatus(cluster));
      return 0;
    } finally {
      coordinator.close();
    }
  },
};

const COLUMNS: readonly Column[] = [
  { title: 'rank', align: 'right' },
  { title: 'member', align: 'left' },
  { title: 'ready', align: 'left' },
  { title: 'isa', align: 'left' },
  { title: 'steps', align: 'right' },
  { title: 'store', align: 'right' },
  { title: 'handles', align: 'right' },
  { title: 'lease age', align: 'right' },
  { title: 'control', align: 'left' },
  { title: 'tensors', align: 'left' },
];

/** For people: the cluster in one line, then a table of its ranks. */
export function formatStatus(status: ClusterStatus): string {
  const { epoch, cpSize, complete, ranks } = status;
  const steps = `${status.stepsRunning} running, ${status.stepsCommitted} committed, ${status.stepsFailed} failed`;
  const members = `${ranks.length} of ${cpSize} ranks${complete ? '' : ', not serving'}`;
  const head = `epoch ${epoch}; ${members}; steps: ${steps}`;
  return ranks.length === 0 ? head : `${head}\n\n${formatTable(COLUMNS, ranks.map(row))}`;
}

function row(status: RankStatus): string[] {
  const { rank, member, controlAddress, tensorAddress } = status.rank;
  return [
    String(rank),
    member,
    status.ready ? 'yes' : 'no',
    status.isa === '' ? '-' : status.isa,
    String(status.stepsRunning),
    `${formatBytes(status.storeBytes)} of ${formatBytes(status.storeBudgetBytes)}`,
    String(status.handles),
    `${status.leaseAgeMs} ms`,
    controlAddress,
    tensorAddress,
  ];
}
