import { availableParallelism, hostname } from 'node:os';
import { randomUUID } from 'node:crypto';
import { SHARED_BYTES, TRANSPORTS } from '@ulysses/exchange';
import { ISAS } from '@ulysses/native';
import { REDIS_OPTIONS, checkRedisFiles, isRedisUrl, parseRedisUrl } from '@ulysses/rendezvous';
import {
  CONNECTION_OPTIONS,
  LOG_LEVELS,
  METRICS_OPTION,
  SLOW_CLIENT_OPTION,
  advertisedAddress,
  bytesOption,
  choiceOption,
  durationOption,
  helpText,
  integerOption,
  requirePrivateSetting,
  resolveConfig,
  stringOption,
  tlsFilesOf,
  type Config,
} from '@ulysses/runtime';
import { availableIsa } from './available-isa.js';

export const OPTIONS = {
  rendezvous: stringOption({
    flag: 'rendezvous',
    env: 'ULYSSES_RENDEZVOUS',
    valueName: 'HOST:PORT|URL',
    help: 'Where membership is kept: the address of a coordinator with the embedded rendezvous, or redis://, rediss://, redis+sentinel://.',
  }),
  ...REDIS_OPTIONS,
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
    help: 'Where the coordinator dials the control port; none: where it listens.',
  }),
  tensorListen: stringOption({
    flag: 'tensor-listen',
    env: 'ULYSSES_TENSOR_LISTEN',
    valueName: 'HOST:PORT',
    default: '127.0.0.1:0',
    help: 'Tensor port; 0 takes a free one.',
  }),
  tensorAdvertise: stringOption({
    flag: 'tensor-advertise',
    env: 'ULYSSES_TENSOR_ADVERTISE',
    valueName: 'HOST[:PORT]',
    default: null,
    help: 'Where trainers and other ranks dial the tensor port; none: where it listens.',
  }),
  ...METRICS_OPTION,
  ...SLOW_CLIENT_OPTION,
  ...CONNECTION_OPTIONS,
  transport: choiceOption(TRANSPORTS, {
    flag: 'transport',
    env: 'ULYSSES_TRANSPORT',
    default: 'auto',
    help: 'What tensor links between processes of one host and user are made of: shared memory beside unix sockets, only those, or TCP.',
  }),
  sharedMemory: bytesOption({
    flag: 'shared-memory',
    env: 'ULYSSES_SHARED_MEMORY',
    default: SHARED_BYTES,
    help: 'Size of the memory that processes of this host and user read in place; 0B for none. What is not used stays untouched.',
  }),
  member: stringOption({
    flag: 'member',
    env: 'ULYSSES_MEMBER',
    valueName: 'NAME',
    default: `${hostname()}-${randomUUID().slice(0, 8)}`,
    help: 'Name of this process in the membership; unique, and new after a restart.',
  }),
  threads: integerOption({
    flag: 'threads',
    env: 'ULYSSES_THREADS',
    min: 1,
    max: 1024,
    default: availableParallelism(),
    help: 'Threads that the device may use.',
  }),
  isa: choiceOption(ISAS, {
    flag: 'isa',
    env: 'ULYSSES_ISA',
    default: null,
    help: 'Instruction set of the kernels; none takes the best that this machine has.',
  }),
  storeBytes: bytesOption({
    flag: 'store-bytes',
    env: 'ULYSSES_STORE_BYTES',
    default: 4 * 2 ** 30,
    help: 'Most memory for what forwards keep for their backward; a forward that does not fit is refused.',
  }),
  storeBytesPerJob: bytesOption({
    flag: 'store-bytes-per-job',
    env: 'ULYSSES_STORE_BYTES_PER_JOB',
    default: null,
    help: 'The same for each job, so that none can fill the store for the others; none means all of --store-bytes.',
  }),
  storeTtl: durationOption({
    flag: 'store-ttl',
    env: 'ULYSSES_STORE_TTL',
    default: 600_000,
    minMs: 1000,
    help: 'How long a forward is kept without being used.',
  }),
  drain: durationOption({
    flag: 'drain',
    env: 'ULYSSES_DRAIN',
    default: 10_000,
    help: 'On SIGTERM, longest to wait until running steps have ended and the coordinator lets this rank go; 0s: leave at once.',
  }),
  logLevel: choiceOption(LOG_LEVELS, {
    flag: 'log-level',
    env: 'ULYSSES_LOG_LEVEL',
    default: 'info',
    help: 'Least severe log lines to write; they go to stderr as JSON.',
  }),
};

export type RankConfig = Config<typeof OPTIONS>;

/** Flag, then variable, then default; every problem at once as CONFIG. */
export function readConfig(argv: readonly string[]): RankConfig {
  return resolveConfig(OPTIONS, { argv, env: process.env }, [
    (config) => {
      const { rendezvous } = config;
      if (isRedisUrl(rendezvous)) parseRedisUrl(rendezvous);
      else requirePrivateSetting('rendezvous', rendezvous, config);
    },
    checkRedisFiles,
    tlsFilesOf,
    (config) => {
      requirePrivateSetting('listen', config.listen, config);
    },
    (config) => {
      requirePrivateSetting('tensor-listen', config.tensorListen, config);
    },
    ({ listen, advertise }) => advertisedAddress('advertise', listen, advertise),
    ({ tensorListen, tensorAdvertise }) =>
      advertisedAddress('tensor-advertise', tensorListen, tensorAdvertise),
    ({ isa }) => availableIsa(isa),
  ]);
}

export const HELP = `ulysses rank: one unit owner. Joins a cluster, receives rows, computes attention, returns results.

Usage: ulysses rank --rendezvous HOST:PORT|URL [options]

Prints one JSON line on stdout when it has joined: {"ready":true,"rank":…,"member":…,"controlAddress":…,"tensorAddress":…,"metricsAddress":…}

${helpText(OPTIONS)}

Examples:
  ulysses rank --rendezvous 127.0.0.1:7100 --threads 4
  ulysses rank --rendezvous redis://redis:6379 --cluster blue --listen 0.0.0.0:7101 --advertise 10.0.0.2 \\
      --tensor-listen 0.0.0.0:7102 --tensor-advertise 10.0.0.2 \\
      --tls-cert rank.pem --tls-key rank.key --tls-ca cluster-ca.pem
`;
