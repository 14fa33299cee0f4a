import { spawn } from 'node:child_process';
import { UlyssesError } from '@ulysses/errors';
import {
  createLogger,
  helpText,
  orAborted,
  switchOption,
  type ConnectionOptions,
  type Logger,
} from '@ulysses/runtime';
import type { Command } from '../command.js';
import { CLUSTER_CHECKS, CLUSTER_OPTIONS, clusterSettings } from '../cluster-options.js';
import { environmentWith, named, readConfig } from '../config.js';
import { logEvent } from '../launcher/cluster-event.js';
import { launchCluster, type Cluster, type ClusterSettings } from '../launcher/launch-cluster.js';
import { foreground, interruptSignal } from '../launcher/signals.js';

const OPTIONS = {
  ...CLUSTER_OPTIONS,
  keepServing: switchOption({
    ...named('keep-serving'),
    help: 'Keep the cluster after the command has ended, until Ctrl-C or SIGTERM.',
  }),
};

const HELP = `ulysses run: starts a cluster as "up" does, runs a command with ULYSSES_ADDRESS set to it, and ULYSSES_TLS_…, ULYSSES_INSECURE and
ULYSSES_SILENT_PEER as for the cluster; then stops the cluster.

Usage: ulysses run --context-parallel-size N [options] -- COMMAND [ARGUMENT...]

Exits with the command's exit code. Signals are passed on to the command.

${helpText(OPTIONS)}

Examples:
  ulysses run --context-parallel-size 4 -- node train.js --steps 100
  ulysses run --context-parallel-size 2 --log-level warn -- sh -c 'ulysses status --address $ULYSSES_ADDRESS'`;

/** Between SIGTERM and SIGKILL for a command whose cluster is gone. */
const COMMAND_GRACE_MS = 5_000;

export const run: Command = {
  summary: 'start a cluster, run a command on it, stop it',
  help: HELP,
  async run(argv) {
    const end = argv.indexOf('--');
    const [flags, command] = end === -1 ? [argv, []] : [argv.slice(0, end), argv.slice(end + 1)];
    const config = readConfig(OPTIONS, flags, [
      ...CLUSTER_CHECKS,
      () => (command.length > 0 ? [] : ['the command is missing, expected -- COMMAND [ARGUMENT...]']),
    ]);
    const settings = clusterSettings(config);
    const logger = createLogger({ name: 'run', level: config.logLevel });
    logger.info({ ...settings }, 'configuration');
    const cluster = await launch(settings, logger);
    try {
      const exitCode = await runCommand(command, cluster, settings);
      if (config.keepServing) await serve(cluster, logger);
      return exitCode;
    } finally {
      await cluster.stop();
    }
  },
};

async function launch(settings: ClusterSettings, logger: Logger): Promise<Cluster> {
  const interrupt = interruptSignal();
  try {
    return await launchCluster(
      {
        ...settings,
        logger,
        onEvent: (event) => {
          logEvent(logger, event);
        },
      },
      interrupt.signal,
    );
  } finally {
    interrupt.release();
  }
}

/** The command's exit code; throws what ended the cluster when that comes first, after the command is gone too. */
async function runCommand(
  [program, ...args]: readonly string[],
  cluster: Cluster,
  { connections }: ClusterSettings,
): Promise<number> {
  if (program === undefined) throw new UlyssesError('INVARIANT', 'there is no command to run');
  const child = spawn(program, args, {
    stdio: 'inherit',
    env: environmentWith({ ULYSSES_ADDRESS: cluster.address, ...connectionVariables(connections) }),
  });
  const exitCode = foreground(child);
  try {
    return await Promise.race([exitCode, cluster.failure]);
  } catch (error) {
    child.kill('SIGTERM');
    const escalation = setTimeout(() => child.kill('SIGKILL'), COMMAND_GRACE_MS);
    await exitCode.catch(() => undefined);
    clearTimeout(escalation);
    throw error;
  }
}

/** What the command needs to dial the cluster. */
function connectionVariables({
  tls,
  insecure,
  silentPeerMs,
}: Required<ConnectionOptions>): Readonly<Record<string, string>> {
  const common = { ULYSSES_INSECURE: String(insecure), ULYSSES_SILENT_PEER: `${silentPeerMs}ms` };
  if (tls === null) return common;
  const { cert, key, ca, serverName } = tls;
  const name = serverName ?? null;
  return {
    ...common,
    ULYSSES_TLS_CERT: cert,
    ULYSSES_TLS_KEY: key,
    ULYSSES_TLS_CA: ca,
    ...(name === null ? {} : { ULYSSES_TLS_NAME: name }),
  };
}

/** Until the user or a failure of the cluster ends it. */
async function serve(cluster: Cluster, logger: Logger): Promise<void> {
  logger.info({ address: cluster.address }, 'keeps serving');
  const interrupt = interruptSignal();
  try {
    await orAborted(cluster.failure, interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
  }
}
