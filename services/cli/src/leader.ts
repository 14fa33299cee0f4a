import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import {
  REDIS_OPTIONS,
  checkRedisFiles,
  findLeader,
  isRedisUrl,
  openRedis,
  parseRedisUrl,
} from '@ulysses/rendezvous';
import { Coordinators, type ClusterStatus, type CoordinatorClient, type StatusRequest } from '@ulysses/rpc';
import {
  CONNECTION_OPTIONS,
  connectionOptionsOf,
  createLogger,
  delay,
  durationOption,
  requirePrivateSetting,
  stringOption,
  tlsFilesOf,
  type Check,
  type Config,
} from '@ulysses/runtime';
import { named } from './config.js';

/** How a command finds the coordinator that leads. */
export const LEADER_OPTIONS = {
  address: stringOption({
    ...named('address'),
    valueName: 'HOST:PORT[,…]',
    default: null,
    help: 'The coordinator, as `ulysses up` prints it, or several; the one that leads is asked.',
  }),
  rendezvous: stringOption({
    ...named('rendezvous'),
    valueName: 'HOST:PORT|URL',
    default: null,
    help: 'Without --address: where membership is kept, as ranks are told; a redis://, rediss:// or redis+sentinel:// knows who leads.',
  }),
  ...REDIS_OPTIONS,
  ...CONNECTION_OPTIONS,
};

/** Of commands that only ask. */
export const ANSWER_TIMEOUT = durationOption({
  ...named('timeout'),
  default: 5000,
  minMs: 1,
  help: 'Longest to wait for the answer.',
});

export type LeaderConfig = Config<typeof LEADER_OPTIONS>;

/** What every command checks that asks the leader. */
export const LEADER_CHECKS: readonly Check<typeof LEADER_OPTIONS>[] = [
  ({ address, rendezvous }) => {
    if (address !== null || rendezvous !== null) return [];
    return [
      '--address is missing, expected HOST:PORT of a coordinator (or set ULYSSES_ADDRESS), or --rendezvous',
    ];
  },
  (config) => {
    for (const each of config.address?.split(',') ?? []) {
      if (!/^.+:\d{1,5}$/.test(each)) throw fieldError('CONFIG', 'address', each, 'host:port');
      requirePrivateSetting('address', each.trim(), config);
    }
  },
  (config) => {
    const { rendezvous } = config;
    if (rendezvous === null) return;
    if (isRedisUrl(rendezvous)) parseRedisUrl(rendezvous);
    else requirePrivateSetting('rendezvous', rendezvous, config);
  },
  checkRedisFiles,
  tlsFilesOf,
];

const AGAIN_MS = 100;

/** Connections to the coordinators that the configuration names; one that Redis knows of is asked for until `deadlineMs`. */
export async function openCoordinators(config: LeaderConfig, deadlineMs: number): Promise<Coordinators> {
  const { address, rendezvous } = config;
  const options = connectionOptionsOf(config);
  if (address !== null) return new Coordinators(address, options);
  if (rendezvous !== null && !isRedisUrl(rendezvous)) return new Coordinators(rendezvous, options);
  return new Coordinators(await leaderInRedis(config, deadlineMs), options);
}

/** The coordinator that leads and the cluster's status. While none does, or one of several is gone, it asks on until `deadlineMs`. */
export async function askLeader(
  coordinators: Coordinators,
  deadlineMs: number,
  request: StatusRequest = {},
): Promise<{ readonly coordinator: CoordinatorClient; readonly status: ClusterStatus }> {
  return await untilDeadline(deadlineMs, async (leftMs) => {
    const coordinator = coordinators.current;
    try {
      return { coordinator, status: await coordinator.getStatus(request, { deadlineMs: leftMs }) };
    } catch (thrown) {
      const error = toUlyssesError(thrown);
      coordinators.failOver(coordinator, error);
      const mayChange = error.details.field === 'leader' || coordinators.current !== coordinator;
      if (error.code !== 'PEER_LOST' || !mayChange) throw error;
      return error;
    }
  });
}

async function leaderInRedis(config: LeaderConfig, deadlineMs: number): Promise<string> {
  const { rendezvous, cluster } = config;
  const logger = createLogger({ name: 'ulysses', level: 'silent' });
  const connection = openRedis(rendezvous ?? '', config, logger);
  try {
    const leader = await untilDeadline(deadlineMs, async (leftMs) => {
      const found = await findLeader(connection, cluster, { deadlineMs: leftMs });
      if (found === null) {
        return new UlyssesError('PEER_LOST', `nobody leads cluster ${cluster}`, { field: 'leader' });
      }
      // Redis names one that was killed until its lease ends.
      return (await whyNotReached(found.address, config, leftMs)) ?? found;
    });
    return leader.address;
  } finally {
    connection.close();
  }
}

/** The loss of a coordinator that no longer answers; null for one that does. */
async function whyNotReached(
  address: string,
  config: LeaderConfig,
  deadlineMs: number,
): Promise<UlyssesError | null> {
  const coordinators = new Coordinators(address, connectionOptionsOf(config));
  try {
    await coordinators.current.getStatus({}, { deadlineMs });
    return null;
  } catch (thrown) {
    const error = toUlyssesError(thrown);
    if (error.code !== 'PEER_LOST') throw error;
    return error;
  } finally {
    coordinators.close();
  }
}

/** Repeats an attempt that returns an error, and throws the last one when the time is up. */
async function untilDeadline<T extends object>(
  deadlineMs: number,
  attempt: (leftMs: number) => Promise<T | UlyssesError>,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  const never = new AbortController().signal;
  for (;;) {
    const result = await attempt(Math.max(1, end - performance.now()));
    if (!(result instanceof UlyssesError)) return result;
    if (performance.now() + AGAIN_MS > end) throw result;
    await delay(AGAIN_MS, never);
  }
}
