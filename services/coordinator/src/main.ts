#!/usr/bin/env node
import { toUlyssesError } from '@ulysses/errors';
import { maskRedisUrl, openRedis } from '@ulysses/rendezvous';
import {
  connectionOptionsOf,
  createLogger,
  handleShutdown,
  optimizeEarly,
  watchLauncher,
  type Logger,
} from '@ulysses/runtime';
import { Calculators } from './calculators.js';
import { HELP, readConfig, type CoordinatorConfig } from './config.js';
import { startCoordinator, type CoordinatorOptions } from './coordinator.js';

const GRACE_MS = 2_000;

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(HELP);
    return;
  }
  optimizeEarly();
  const config = readConfig(argv);
  const logger = createLogger({ name: 'coordinator', level: config.logLevel });
  logger.info({ ...config, rendezvous: maskRedisUrl(config.rendezvous) }, 'configuration');
  const shutdown = handleShutdown({ logger, deadlineMs: config.drain + 2 * GRACE_MS });
  const coordinator = await startCoordinator({
    listen: config.listen,
    advertise: config.advertise,
    metricsListen: config.metrics,
    connections: connectionOptionsOf(config),
    slowClientMs: config.slowClient,
    cpSize: config.contextParallelSize,
    leaseMs: config.lease,
    onLoss: config.onLoss,
    minRanks: config.minRanks,
    drainMs: config.drain,
    stepDeadlineMs: config.stepDeadline,
    jobs: config.jobs === null ? null : config.jobs.split(',').map((job) => job.trim()),
    kvCache: {
      policy: config.kvCachePolicy,
      unaligned: config.kvCachePolicyUnaligned,
      budgetBytes: config.kvCacheBudget,
    },
    redis: openRendezvous(config, logger),
    calculators: await Calculators.load(config.gatherSizeCalculator),
    logger,
    onRefused: ({ code }) => void shutdown.begin(`the cluster refuses this coordinator: ${code}`, 1),
  });
  shutdown.onShutdown('coordinator', () => coordinator.close(GRACE_MS));
  watchLauncher(() => void shutdown.begin('the launcher is gone', 1));
  const { address: controlAddress, metricsAddress } = coordinator;
  logger.info({ address: controlAddress, metricsAddress }, 'listening');
  process.stdout.write(`${JSON.stringify({ ready: true, controlAddress, metricsAddress })}\n`);
}

function openRendezvous(config: CoordinatorConfig, logger: Logger): CoordinatorOptions['redis'] {
  const { rendezvous, cluster } = config;
  if (rendezvous === 'embedded') return null;
  return { connection: openRedis(rendezvous, config, logger), cluster };
}

main(process.argv.slice(2)).catch((thrown: unknown) => {
  const error = toUlyssesError(thrown);
  process.stderr.write(`ulysses coordinator: ${error.code}: ${error.message}\n`);
  process.exit(error.code === 'CONFIG' ? 2 : 1);
});
