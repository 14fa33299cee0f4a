import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { delay, onAbort, type Logger } from '@ulysses/runtime';
import { EXIT_CONFIG, type Child } from './child.js';
import { RestartPace, type RankLife } from './restart-pace.js';

export interface SupervisedRank {
  readonly member: string;
  readonly pid: number;
}

export interface SuperviseOptions {
  /** Starts a process under a name that was never used before. */
  readonly start: () => { readonly member: string; readonly child: Child };
  /** Ends the lease of a process that was reaped, so that its rank is free at once. */
  readonly revoke: (member: string) => Promise<void>;
  /** `replaces` is the member that died before; null for the first. */
  readonly onJoined: (rank: SupervisedRank, replaces: string | null) => void;
  readonly onLost: (rank: SupervisedRank, reason: string) => void;
  readonly restart: boolean;
  /** Whether a process that ended is to be replaced: the cluster may have become smaller. */
  readonly wanted: () => boolean;
  readonly readyMs: number;
  readonly stopGraceMs: number;
  readonly logger: Logger;
}

/**
 * Keeps one rank process alive until `stop` aborts, then ends it; resolves when it is gone, or no longer wanted.
 *
 * @throws PEER_LOST when it is not to be replaced or replacing it is hopeless, CONFIG when it refused its configuration
 */
export async function superviseRank(options: SuperviseOptions, stop: AbortSignal): Promise<void> {
  const pace = new RestartPace();
  let replaces: string | null = null;
  while (!stop.aborted) {
    const { rank, life } = await live(options, replaces, stop);
    if (life === null) return;
    options.onLost(rank, life.end.reason);
    await options.revoke(rank.member);
    if (!options.wanted()) return;
    const pauseMs = pauseBeforeNext(options, rank, life, pace);
    replaces = rank.member;
    await delay(pauseMs, stop).catch(() => undefined);
  }
}

/** One process from start to end; `life` is null when `stop` ended it. */
async function live(
  options: SuperviseOptions,
  replaces: string | null,
  stop: AbortSignal,
): Promise<{ readonly rank: SupervisedRank; readonly life: RankLife | null }> {
  const startedAt = performance.now();
  const { member, child } = options.start();
  const rank = { member, pid: child.pid };
  const stopChild = (): void => {
    void child.stop(options.stopGraceMs);
  };
  onAbort(stop, stopChild);
  const joined = await joins(options, rank, child, replaces, stop);
  const end = await child.ended;
  stop.removeEventListener('abort', stopChild);
  const ranMs = performance.now() - startedAt;
  return { rank, life: stop.aborted ? null : { end, joined, ranMs } };
}

/** True when the process joined; one that does not in time is killed. */
async function joins(
  { readyMs, onJoined, logger }: SuperviseOptions,
  rank: SupervisedRank,
  child: Child,
  replaces: string | null,
  stop: AbortSignal,
): Promise<boolean> {
  try {
    await child.ready(readyMs);
    onJoined(rank, replaces);
    return true;
  } catch (thrown) {
    const { code, message } = toUlyssesError(thrown);
    if (!stop.aborted) logger.error({ member: rank.member, code, reason: message }, 'rank did not join');
    // Without effect on a process that has ended already.
    child.kill();
    return false;
  }
}

function pauseBeforeNext(
  { restart }: SuperviseOptions,
  { member }: SupervisedRank,
  life: RankLife,
  pace: RestartPace,
): number {
  const { exitCode, reason } = life.end;
  if (exitCode === EXIT_CONFIG) {
    const message = `rank process ${member} refused its configuration, for the reasons that it printed`;
    throw new UlyssesError('CONFIG', message, { member });
  }
  const ended = `rank process ${member} ended (${reason})`;
  if (!restart) throw new UlyssesError('PEER_LOST', `${ended} and --no-restart is set`, { member });
  const next = pace.after(life);
  if (next.kind === 'start') return next.pauseMs;
  const hopeless = `${ended}, and so did those before it, soon after their start`;
  throw new UlyssesError('PEER_LOST', hopeless, { member });
}
