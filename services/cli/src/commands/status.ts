import { toUlyssesError } from '@ulysses/errors';
import type { ClusterStatus, Coordinators, RankStatus } from '@ulysses/rpc';
import { delay, durationOption, helpText, orAborted, switchOption, type Config } from '@ulysses/runtime';
import type { Command } from '../command.js';
import { named, readConfig } from '../config.js';
import { formatBytes } from '../format-bytes.js';
import { formatTable, type Column } from '../format-table.js';
import { interruptSignal } from '../launcher/signals.js';
import { ANSWER_TIMEOUT, LEADER_OPTIONS, askLeader, LEADER_CHECKS, openCoordinators } from '../leader.js';

const OPTIONS = {
  ...LEADER_OPTIONS,
  timeout: ANSWER_TIMEOUT,
  json: switchOption({
    ...named('json'),
    help: 'Print what the coordinator said as one JSON object; with --watch one line each time.',
  }),
  watch: switchOption({
    ...named('watch'),
    help: 'Show it again and again, whoever leads, until Ctrl-C.',
  }),
  every: durationOption({
    ...named('every'),
    default: 1000,
    minMs: 10,
    help: 'With --watch: the pause between two looks.',
  }),
};

const HELP = `ulysses status: shows the ranks of a running cluster.

Usage: ulysses status (--address HOST:PORT[,…] | --rendezvous URL) [options]

${helpText(OPTIONS)}

Examples:
  ulysses status --address 127.0.0.1:7100
  ulysses status --address 10.0.0.1:7100,10.0.0.9:7100 --insecure --watch
  ulysses status --rendezvous redis://redis:6379 --cluster blue
  ulysses status --address 127.0.0.1:7100 --json | jq .epoch`;

export const status: Command = {
  summary: 'show the ranks of a running cluster',
  help: HELP,
  async run(argv) {
    const config = readConfig(OPTIONS, argv, LEADER_CHECKS);
    if (config.watch) {
      await watch(config);
      return 0;
    }
    const coordinators = await openCoordinators(config, config.timeout);
    try {
      const { status: cluster } = await askLeader(coordinators, config.timeout);
      console.log(config.json ? JSON.stringify(cluster, null, 2) : formatStatus(cluster));
      return 0;
    } finally {
      coordinators.close();
    }
  },
};

/** Until the user ends it; a look that fails is said on stderr, and the next one starts over from the configuration. */
async function watch(config: Config<typeof OPTIONS>): Promise<void> {
  const { timeout, every, json } = config;
  const interrupt = interruptSignal();
  const interrupted = (): boolean => interrupt.signal.aborted;
  let coordinators: Coordinators | null = null;
  while (!interrupted()) {
    try {
      coordinators ??= await openCoordinators(config, timeout);
      const looking = askLeader(coordinators, timeout);
      const { status: cluster } = await orAborted(looking, interrupt.signal);
      console.log(json ? JSON.stringify(cluster) : `${clearScreen()}${formatStatus(cluster)}\n`);
    } catch (thrown) {
      const { code, message } = toUlyssesError(thrown);
      if (interrupted()) break;
      if (code === 'CONFIG') throw thrown;
      console.error(`ulysses: ${code}: ${message}`);
      coordinators?.close();
      coordinators = null;
    }
    await delay(every, interrupt.signal).catch(() => undefined);
  }
  coordinators?.close();
}

/** Before each: a terminal shows one status in place of the last; a file gets one below the other. */
function clearScreen(): string {
  return process.stdout.isTTY ? '\u001b[H\u001b[J' : '';
}

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
