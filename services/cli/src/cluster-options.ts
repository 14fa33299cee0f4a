import { availableParallelism } from 'node:os';
import { KV_CACHE_BUDGET_BYTES, KV_CACHE_CHOICES } from '@ulysses/plan';
import {
  CONNECTION_OPTIONS,
  LOG_LEVELS,
  bytesOption,
  choiceOption,
  connectionOptionsOf,
  fileOption,
  integerOption,
  stringOption,
  switchOption,
  requirePrivateSetting,
  tlsFilesOf,
  type Check,
  type Config,
} from '@ulysses/runtime';
import { named } from './config.js';
import type { ClusterSettings } from './launcher/launch-cluster.js';

/** What `up` and `run` know about the cluster that they start. */
export const CLUSTER_OPTIONS = {
  contextParallelSize: integerOption({
    ...named('context-parallel-size'),
    min: 2,
    max: 4096,
    help: 'How many ranks the cluster has.',
  }),
  contextParallelAlgo: choiceOption(['ulysses_cp_algo'], {
    ...named('context-parallel-algo'),
    default: 'ulysses_cp_algo',
    help: 'The only algorithm there is.',
  }),
  kvCachePolicy: choiceOption(KV_CACHE_CHOICES, {
    ...named('context-parallel-kv-cache-policy'),
    default: 'none',
    help: 'What trainers that do not say get: K (half) or K and V (full) are not kept gathered on the ranks but exchanged again in backward, which makes exchanges aligned; auto takes the first that fits --kv-cache-budget.',
  }),
  kvCachePolicyUnaligned: switchOption({
    ...named('kv-cache-policy-unaligned'),
    help: 'Policies half and full leave exchanges unaligned.',
  }),
  kvCacheBudget: bytesOption({
    ...named('kv-cache-budget'),
    default: KV_CACHE_BUDGET_BYTES,
    help: 'With policy auto: most memory that one rank keeps of one forward.',
  }),
  listen: {
    ...stringOption({
      ...named('listen'),
      valueName: 'HOST:PORT',
      default: '127.0.0.1:0',
      help: "The coordinator's port, 0 takes a free one. Ranks take free ports on the same host, so it must be one that trainers can dial.",
    }),
    expected: 'HOST:PORT with a host that trainers can dial, so not 0.0.0.0 or [::]',
    parse: (text: string) => (/^(?!0\.0\.0\.0:|\[::\]:).+:\d{1,5}$/.test(text) ? text : null),
  },
  ...CONNECTION_OPTIONS,
  gatherSizeCalculator: fileOption({
    ...named('gather-size-calculator'),
    words: ['default', 'dynamic'],
    default: 'dynamic',
    help: 'Which calculator says how long the gathered sequence is when a client runs none; PATH is a module that exports gatherSizeCalculator.',
  }),
  threads: integerOption({
    ...named('threads'),
    min: 0,
    max: 1024,
    default: 0,
    help: 'Threads of each rank; 0 shares the cores of this machine evenly.',
  }),
  storeBytes: bytesOption({
    ...named('store-bytes'),
    default: 4 * 2 ** 30,
    help: 'Most memory of each rank for what forwards keep for their backward.',
  }),
  storeBytesPerJob: bytesOption({
    ...named('store-bytes-per-job'),
    default: null,
    help: 'The same for each job, so that none can fill the store for the others; none means all of --store-bytes.',
  }),
  restart: switchOption({
    ...named('restart'),
    default: true,
    help: 'Replace a rank that died; without, it ends the cluster.',
  }),
  logLevel: choiceOption(LOG_LEVELS, {
    ...named('log-level'),
    default: 'info',
    help: 'Least severe log lines to write; they go to stderr as JSON.',
  }),
};

export type ClusterConfig = Config<typeof CLUSTER_OPTIONS>;

/** What the services that are started would refuse, one after the other. */
export const CLUSTER_CHECKS: readonly Check<typeof CLUSTER_OPTIONS>[] = [
  tlsFilesOf,
  (config) => {
    requirePrivateSetting('listen', config.listen, config);
  },
];

export function clusterSettings(config: ClusterConfig): ClusterSettings {
  const { contextParallelSize: cpSize, threads } = config;
  return {
    cpSize,
    listen: config.listen,
    connections: connectionOptionsOf(config),
    gatherSizeCalculator: config.gatherSizeCalculator,
    threads: threads === 0 ? Math.max(1, Math.floor(availableParallelism() / cpSize)) : threads,
    kvCachePolicy: config.kvCachePolicy,
    kvCachePolicyUnaligned: config.kvCachePolicyUnaligned,
    kvCacheBudget: config.kvCacheBudget,
    storeBytes: config.storeBytes,
    storeBytesPerJob: config.storeBytesPerJob,
    restart: config.restart,
    logLevel: config.logLevel,
  };
}
