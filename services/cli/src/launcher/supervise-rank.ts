import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { delay, type Logger } from '@ulysses/runtime';
import { EXIT_CONFIG, type Child } from './child.js';
import { RestartPace } from './restart-pace.js';

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
  readonly readyMs: number;
  readonly stopGraceMs: number;
  readonly logger: Logger;
}

/**
 * Keeps one rank process alive until `stop` aborts, then ends it; resolves when it is gone.
 *
 * @throws PEER_LOST when it is not to be replaced or replacing it is hopeless, CONFIG when it refused its configuration
 */
export async function superviseRank(options: SuperviseOptions, stop: AbortSignal): Promise<void> {
  const pace = new RestartPace();
  let replaces: string | null = null;
  while (!stop.aborted) {
    const startedAt = performance.now();
    const { member, child } = options.start();
    const rank = { member, pid: child.pid };
    const stopChild = (): void => {
      void child.stop(options.stopGraceMs);
    };
    stop.addEventListener('abort', stopChild);
    const joined = await joins(options, rank, child, replaces, stop);
    const end = await child.ended;
    stop.removeEventListener('abort', stopChild);
    if (stop.aborted) return;

    options.onLost(rank, end.reason);
    await options.revoke(member);
    const next = pace.after({ end, joined, ranMs: performance.now() - startedAt });
    if (end.exitCode === EXIT_CONFIG) throw refused(member);
    if (next.kind === 'give-up' || !options.restart) {
      const why = options.restart ? 'replacements keep ending right after their start' : '--no-restart is set';
      throw new UlyssesError('PEER_LOST', `rank process ${member} ended (${end.reason}) and ${why}`, {
        member,
      });
    }
    replaces = member;
    await delay(next.pauseMs, stop).catch(() => undefined);
  }
}

function refused(member: string): UlyssesError {
  return new UlyssesError('CONFIG', `rank process ${member} refused its configuration, see its own words above`);
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
