import { fieldError } from '@ulysses/errors';
import { KV_CACHE_BUDGET_BYTES, KV_CACHE_CHOICES } from '@ulysses/plan';
import { REDIS_OPTIONS, checkRedisFiles, isRedisUrl, parseRedisUrl } from '@ulysses/rendezvous';
import { ON_LOSS } from './elasticity.js';
import {
  CONNECTION_OPTIONS,
  LOG_LEVELS,
  METRICS_OPTION,
  SLOW_CLIENT_OPTION,
  advertisedAddress,
  bytesOption,
  choiceOption,
  durationOption,
  fileOption,
  helpText,
  integerOption,
  requirePrivateSetting,
  resolveConfig,
  stringOption,
  switchOption,
  tlsFilesOf,
  type Config,
} from '@ulysses/runtime';

export const OPTIONS = {
  contextParallelSize: integerOption({
    flag: 'context-parallel-size',
    env: 'ULYSSES_CONTEXT_PARALLEL_SIZE',
    min: 1,
    max: 4096,
    help: 'How many ranks make the cluster complete.',
  }),
  listen: stringOption({
    flag: 'listen',
    env: 'ULYSSES_LISTEN',
    valueName: 'HOST:PORT',
    default: '127.0.0.1:0',
    help: 'Control port; 0 takes a free one.',
  }),
  advertise: stringOption({
    flag: 'advertise',
    env: 'ULYSSES_ADVERTISE',
    valueName: 'HOST[:PORT]',
    default: null,
    help: 'Where trainers dial it; none: where it listens.',
  }),
  ...CONNECTION_OPTIONS,
  rendezvous: stringOption({
    flag: 'rendezvous',
    env: 'ULYSSES_RENDEZVOUS',
    valueName: 'embedded|URL',
    default: 'embedded',
    help: 'Where membership is kept: in this process, or at redis://, rediss://, redis+sentinel://. With Redis there may be several coordinators: one leads.',
  }),
  ...REDIS_OPTIONS,
  ...METRICS_OPTION,
  ...SLOW_CLIENT_OPTION,
  jobs: stringOption({
    flag: 'jobs',
    env: 'ULYSSES_JOBS',
    valueName: 'NAME[,NAME...]',
    default: null,
    help: 'Jobs whose steps are taken; none: of any name.',
  }),
  gatherSizeCalculator: fileOption({
    flag: 'gather-size-calculator',
    env: 'ULYSSES_GATHER_SIZE_CALCULATOR',
    words: ['default', 'dynamic'],
    default: 'dynamic',
    help: 'Which calculator says how long the gathered sequence is when a client runs none; PATH is a module that exports gatherSizeCalculator.',
  }),
  kvCachePolicy: choiceOption(KV_CACHE_CHOICES, {
    flag: 'context-parallel-kv-cache-policy',
    env: 'ULYSSES_CONTEXT_PARALLEL_KV_CACHE_POLICY',
    default: 'none',
    help: 'What trainers that do not say get: K (half) or K and V (full) are not kept gathered on the ranks but exchanged again in backward, which makes exchanges aligned; auto takes the first that fits --kv-cache-budget.',
  }),
  kvCachePolicyUnaligned: switchOption({
    flag: 'kv-cache-policy-unaligned',
    env: 'ULYSSES_KV_CACHE_POLICY_UNALIGNED',
    help: 'Policies half and full leave exchanges unaligned.',
  }),
  kvCacheBudget: bytesOption({
    flag: 'kv-cache-budget',
    env: 'ULYSSES_KV_CACHE_BUDGET',
    default: KV_CACHE_BUDGET_BYTES,
    help: 'With policy auto: most memory that one rank keeps of one forward.',
  }),
  lease: durationOption({
    flag: 'lease',
    env: 'ULYSSES_LEASE',
    default: 3000,
    minMs: 100,
    help: 'How long a rank stays a member without renewing.',
  }),
  onLoss: choiceOption(ON_LOSS, {
    flag: 'on-loss',
    env: 'ULYSSES_ON_LOSS',
    default: 'wait',
    help: 'When a rank is lost or drained: wait for another, or shrink to those that are left (after a loss, when a lease has passed without another).',
  }),
  minRanks: integerOption({
    flag: 'min-ranks',
    env: 'ULYSSES_MIN_RANKS',
    min: 1,
    max: 4096,
    default: 1,
    help: 'Fewest ranks that the cluster shrinks or is scaled to.',
  }),
  drain: durationOption({
    flag: 'drain',
    env: 'ULYSSES_DRAIN',
    default: 10_000,
    help: 'Longest that a planned change, and the end of this process on SIGTERM, wait for running steps.',
  }),
  stepDeadline: durationOption({
    flag: 'step-deadline',
    env: 'ULYSSES_STEP_DEADLINE',
    default: 60_000,
    minMs: 10,
    help: 'Longest that a step may take when its owners set no deadline.',
  }),
  logLevel: choiceOption(LOG_LEVELS, {
    flag: 'log-level',
    env: 'ULYSSES_LOG_LEVEL',
    default: 'info',
    help: 'Least severe log lines to write; they go to stderr as JSON.',
  }),
};

export type CoordinatorConfig = Config<typeof OPTIONS>;

/** Flag, then variable, then default; every problem at once as CONFIG. */
export function readConfig(argv: readonly string[]): CoordinatorConfig {
  return resolveConfig(OPTIONS, { argv, env: process.env }, [
    ({ rendezvous }) => {
      requireRendezvous(rendezvous);
    },
    checkRedisFiles,
    tlsFilesOf,
    (config) => {
      requirePrivateSetting('listen', config.listen, config);
    },
    ({ listen, advertise }) => advertisedAddress('advertise', listen, advertise),
    ({ minRanks, contextParallelSize: size }) => {
      const expected = `at most ${size}, the --context-parallel-size`;
      if (minRanks > size) throw fieldError('CONFIG', 'min-ranks', minRanks, expected);
    },
  ]);
}

function requireRendezvous(rendezvous: string): void {
  if (rendezvous === 'embedded') return;
  if (!isRedisUrl(rendezvous)) {
    const expected = 'embedded or a redis://, rediss:// or redis+sentinel:// URL';
    throw fieldError('CONFIG', 'rendezvous', rendezvous, expected);
  }
  parseRedisUrl(rendezvous);
}

export const HELP = `ulysses coordinator: agrees steps between trainers, computes gather sizes and plans, leads the ranks of a cluster.

Usage: ulysses coordinator --context-parallel-size N [options]

Prints one JSON line on stdout when it listens: {"ready":true,"controlAddress":…,"metricsAddress":…}

${helpText(OPTIONS)}

Examples:
  ulysses coordinator --context-parallel-size 4 --listen 127.0.0.1:7100
  ulysses coordinator --context-parallel-size 4 --rendezvous redis://redis:6379 --cluster blue \\
      --listen 0.0.0.0:7100 --advertise 10.0.0.1 --tls-cert coordinator.pem --tls-key coordinator.key --tls-ca cluster-ca.pem
`;
