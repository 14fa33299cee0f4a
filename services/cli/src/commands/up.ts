import { createLogger, helpText, orAborted, switchOption, watchLauncher } from '@ulysses/runtime';
import type { Command } from '../command.js';
import { CLUSTER_CHECKS, CLUSTER_OPTIONS, clusterSettings } from '../cluster-options.js';
import { named, readConfig } from '../config.js';
import { logEvent, type ClusterEvent } from '../launcher/cluster-event.js';
import { launchCluster, type Cluster } from '../launcher/launch-cluster.js';
import { interruptSignal } from '../launcher/signals.js';

const OPTIONS = {
  ...CLUSTER_OPTIONS,
  json: switchOption({
    ...named('json'),
    help: 'Print the ready line and every event of the cluster as JSON lines on stdout.',
  }),
};

const HELP = `ulysses up: starts a coordinator and N ranks on this machine and keeps them running.

Usage: ulysses up --context-parallel-size N [options]

Prints "ulysses: ready at HOST:PORT" on stdout when every rank has joined. A rank that dies is replaced. Ctrl-C or SIGTERM
stops everything; a second one does not wait.

${helpText(OPTIONS)}

Examples:
  ulysses up --context-parallel-size 4
  ulysses up --context-parallel-size 3 --listen 127.0.0.1:7100 --log-level warn
  ulysses up --context-parallel-size 8 --gather-size-calculator ./my-calculator.js --store-bytes 1GiB
  ULYSSES_CONTEXT_PARALLEL_SIZE=4 ulysses up --json`;

export const up: Command = {
  summary: 'start a cluster on this machine and keep it running',
  help: HELP,
  async run(argv) {
    const config = readConfig(OPTIONS, argv, CLUSTER_CHECKS);
    const settings = clusterSettings(config);
    const logger = createLogger({ name: 'up', level: config.logLevel });
    logger.info({ ...settings }, 'configuration');
    const interrupt = interruptSignal();
    // Started by a program with an IPC channel, it ends with that program; the channel alone keeps nothing alive.
    watchLauncher(() => process.kill(process.pid, 'SIGTERM'));
    process.channel?.unref();
    const onEvent = (event: ClusterEvent): void => {
      logEvent(logger, event);
      if (config.json) console.log(JSON.stringify(event));
    };
    try {
      const cluster = await launchCluster({ ...settings, logger, onEvent }, interrupt.signal);
      console.log(config.json ? JSON.stringify(readyLine(cluster)) : `ulysses: ready at ${cluster.address}`);
      try {
        return await orAborted(cluster.failure, interrupt.signal);
      } finally {
        await cluster.stop();
      }
    } catch (error) {
      // Being told to stop is no failure.
      if (interrupt.signal.aborted) return 0;
      throw error;
    }
  },
};

function readyLine(cluster: Cluster): object {
  const { address, coordinatorPid } = cluster;
  return { ready: true, address, coordinator: { pid: coordinatorPid }, ranks: cluster.ranks() };
}
