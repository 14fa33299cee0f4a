import type { Logger } from '@ulysses/runtime';

/** A member and its process. */
export interface RankProcess {
  readonly rank: number;
  readonly member: string;
  /** Null for a member that this launcher did not start. */
  readonly pid: number | null;
}

/** What happens to a running cluster. */
export type ClusterEvent =
  | {
      readonly event: 'rank-lost';
      /** Null when it had not joined. */
      readonly rank: number | null;
      readonly member: string;
      readonly pid: number;
      readonly reason: string;
    }
  | {
      readonly event: 'rank-replaced';
      readonly member: string;
      readonly pid: number;
      /** The member that died. */
      readonly replaces: string;
    }
  | {
      readonly event: 'epoch';
      readonly epoch: number;
      /** Every rank is taken. */
      readonly complete: boolean;
      readonly ranks: readonly RankProcess[];
    };

/** One log line per event; a membership that is not complete is no epoch yet. */
export function logEvent(logger: Logger, happened: ClusterEvent): void {
  switch (happened.event) {
    case 'rank-lost': {
      const { rank, member, pid, reason } = happened;
      logger.warn({ rank, member, rankPid: pid, reason }, 'rank lost');
      break;
    }
    case 'rank-replaced': {
      const { member, pid, replaces } = happened;
      logger.info({ member, rankPid: pid, replaces }, 'rank replaced');
      break;
    }
    case 'epoch': {
      const { epoch, ranks } = happened;
      if (happened.complete) logger.info({ epoch, ranks: ranks.length }, 'epoch began');
      else logger.debug({ epoch, ranks: ranks.length }, 'membership changed');
      break;
    }
  }
}
