#!/usr/bin/env node
import { toUlyssesError } from '@ulysses/errors';
import { createLogger, handleShutdown, watchLauncher } from '@ulysses/runtime';
import { Calculators } from './calculators.js';
import { HELP, readConfig } from './config.js';
import { startCoordinator } from './coordinator.js';

const GRACE_MS = 2_000;

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(HELP);
    return;
  }
  const config = readConfig(argv);
  const logger = createLogger({ name: 'coordinator', level: config.logLevel });
  logger.info({ ...config }, 'configuration');
  const coordinator = await startCoordinator({
    listen: config.listen,
    cpSize: config.contextParallelSize,
    leaseMs: config.lease,
    stepDeadlineMs: config.stepDeadline,
    kvCache: {
      policy: config.kvCachePolicy,
      unaligned: config.kvCachePolicyUnaligned,
      budgetBytes: config.kvCacheBudget,
    },
    calculators: await Calculators.load(config.gatherSizeCalculator),
    logger,
  });
  const shutdown = handleShutdown({ logger, deadlineMs: 2 * GRACE_MS });
  shutdown.onShutdown('coordinator', () => coordinator.close(GRACE_MS));
  watchLauncher(() => void shutdown.begin('the launcher is gone', 1));
  logger.info({ address: coordinator.address }, 'listening');
  process.stdout.write(`${JSON.stringify({ ready: true, controlAddress: coordinator.address })}\n`);
}

main(process.argv.slice(2)).catch((thrown: unknown) => {
  const error = toUlyssesError(thrown);
  process.stderr.write(`ulysses coordinator: ${error.code}: ${error.message}\n`);
  process.exit(error.code === 'CONFIG' ? 2 : 1);
});
