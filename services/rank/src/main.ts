#!/usr/bin/env node
import { toUlyssesError } from '@ulysses/errors';
import { RedisStore, RemoteStore, isRedisUrl, maskRedisUrl, openRedis } from '@ulysses/rendezvous';
import {
  connectionOptionsOf,
  createLogger,
  handleShutdown,
  optimizeEarly,
  watchLauncher,
  type Logger,
} from '@ulysses/runtime';
import { HELP, readConfig, type RankConfig } from './config.js';
import { startRank } from './rank.js';

const GRACE_MS = 2_000;

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(HELP);
    return;
  }
  optimizeEarly();
  const config = readConfig(argv);
  const logger = createLogger({ name: 'rank', level: config.logLevel });
  logger.info({ ...config, rendezvous: maskRedisUrl(config.rendezvous) }, 'configuration');
  const shutdown = handleShutdown({ logger, deadlineMs: config.drain + 2 * GRACE_MS });
  watchLauncher(() => void shutdown.begin('the launcher is gone', 1));
  const { member } = config;
  const rank = await startRank({
    member,
    membership: openMembership(config, logger),
    listen: config.listen,
    advertise: config.advertise,
    tensorListen: config.tensorListen,
    tensorAdvertise: config.tensorAdvertise,
    transport: config.transport,
    metricsListen: config.metrics,
    connections: connectionOptionsOf(config),
    slowClientMs: config.slowClient,
    sharedBytes: config.sharedMemory,
    threads: config.threads,
    isa: config.isa,
    storeBytes: config.storeBytes,
    storeBytesPerJob: config.storeBytesPerJob,
    storeTtlMs: config.storeTtl,
    drainMs: config.drain,
    onAskedToLeave: () => void shutdown.begin('drained'),
    onRefused: ({ code }) => void shutdown.begin(`the cluster refuses this rank: ${code}`, 1),
    logger,
    signal: shutdown.signal,
  });
  shutdown.onShutdown('rank', () => rank.close(GRACE_MS));
  const { controlAddress, tensorAddress, metricsAddress } = rank;
  logger.info({ member, rank: rank.rank, address: controlAddress, metricsAddress }, 'joined');
  process.stdout.write(
    `${JSON.stringify({ ready: true, rank: rank.rank, member, controlAddress, tensorAddress, metricsAddress })}\n`,
  );
}

function openMembership(config: RankConfig, logger: Logger): RedisStore | RemoteStore {
  const { rendezvous, cluster } = config;
  if (!isRedisUrl(rendezvous)) return new RemoteStore(rendezvous, connectionOptionsOf(config));
  return new RedisStore({ connection: openRedis(rendezvous, config, logger), cluster });
}

main(process.argv.slice(2)).catch((thrown: unknown) => {
  const error = toUlyssesError(thrown);
  process.stderr.write(`ulysses rank: ${error.code}: ${error.message}\n`);
  process.exit(error.code === 'CONFIG' ? 2 : 1);
});
