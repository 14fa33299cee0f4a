import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import type { ClusterStore } from '@ulysses/rendezvous';
import type { Membership, RankAddress } from '@ulysses/rpc';
import { linkSignals, type Logger } from '@ulysses/runtime';
import type { Fleet } from './fleet.js';
import type { LegalSizes } from './legal-sizes.js';

export const ON_LOSS = ['wait', 'shrink'] as const;

export interface ElasticitySettings {
  /** What happens when a rank is lost: wait for another, or go on with fewer after the length of a lease. */
  readonly onLoss: (typeof ON_LOSS)[number];
  readonly minRanks: number;
  /** How long a planned change waits for running steps. */
  readonly drainMs: number;
  readonly leaseMs: number;
}

export interface ElasticityOptions extends ElasticitySettings {
  readonly fleet: Fleet;
  readonly store: ClusterStore;
  readonly sizes: LegalSizes;
  readonly logger: Logger;
}

const CHANGE_MS = 5_000;
const LARGEST = 4096;

/**
 * Changes of the cluster's size, by plan or after a loss.
 *
 * E1: a planned change lets running steps finish, up to the drain time, and no new one begin.
 * E2: a cluster that never was complete is never shrunk: its ranks are still starting.
 * E3: it shrinks to a size that the aligned steps of its jobs can have. Without one it waits, and steps are told why.
 */
export class Elasticity {
  readonly #options: ElasticityOptions;
  readonly #stop = new AbortController();
  #membership: Membership | null = null;
  #shrinkTimer: NodeJS.Timeout | null = null;

  constructor(options: ElasticityOptions) {
    this.#options = options;
  }

  /** Hears of every membership; plans to shrink when one stays incomplete. */
  update(membership: Membership): void {
    this.#membership = membership;
    if (this.#shrinkTimer !== null) clearTimeout(this.#shrinkTimer);
    this.#shrinkTimer = null;
    const { onLoss, minRanks, leaseMs } = this.#options;
    const { complete, epoch, members, cpSize } = membership;
    if (onLoss === 'wait' || complete || epoch === 0 || this.#options.fleet.readyEpoch !== null) return;
    if (members.length < minRanks || members.length >= cpSize) return;
    this.#shrinkTimer = setTimeout(() => {
      void this.#shrink(members.length);
    }, leaseMs);
  }

  async scale(cpSize: number): Promise<void> {
    const { fleet, store, drainMs, minRanks, logger } = this.#options;
    if (cpSize < minRanks || cpSize > LARGEST) {
      throw fieldError(
        'SHAPE_MISMATCH',
        'cp_size',
        cpSize,
        `a number of ranks from ${minRanks} to ${LARGEST}`,
      );
    }
    const before = this.#membership?.cpSize ?? 0;
    if (cpSize === before) return;
    const resize = (): Promise<void> => store.setCpSize(cpSize, { deadlineMs: CHANGE_MS });
    // More ranks: the old epoch serves until the new set is complete, and is drained then.
    if (cpSize > before) await resize();
    else await fleet.change(drainMs, resize);
    logger.info({ ranks: cpSize, before }, 'scaled');
  }

  /** Asks a rank to leave and resolves when it has. */
  async drain(rank: number, signal: AbortSignal): Promise<void> {
    const members = this.#membership?.members ?? [];
    const leaver = members.find((member) => member.rank === rank);
    if (leaver === undefined) {
      const ranks = members.map((member) => member.rank).join(', ');
      throw fieldError('SHAPE_MISMATCH', 'rank', rank, `one of the ranks ${ranks}`);
    }
    const either = linkSignals([signal, this.#stop.signal]);
    try {
      await this.#options.fleet.askToLeave(leaver, either.signal);
    } finally {
      either.release();
    }
  }

  /** A rank says that it wants to leave: it was asked to, or its process was told to end. */
  async leaves(leaver: RankAddress): Promise<void> {
    const { fleet, store, drainMs, onLoss, minRanks, logger } = this.#options;
    const limits = { deadlineMs: CHANGE_MS };
    try {
      await fleet.change(drainMs, async () => {
        const { cpSize = 0, complete = false } = this.#membership ?? {};
        await store.revoke(leaver.member, limits);
        const smaller = complete ? this.#options.sizes.largest(cpSize - 1, minRanks) : null;
        if (onLoss === 'shrink' && smaller !== null) await store.setCpSize(smaller, limits);
      });
      logger.info({ rank: leaver.rank, member: leaver.member }, 'rank drained');
    } catch (thrown) {
      const { code, message } = toUlyssesError(thrown);
      logger.warn({ rank: leaver.rank, member: leaver.member, code, reason: message }, 'rank not drained');
    }
  }

  close(): void {
    if (this.#shrinkTimer !== null) clearTimeout(this.#shrinkTimer);
    this.#stop.abort(new UlyssesError('PEER_LOST', 'this coordinator leads no more', { field: 'leader' }));
  }

  async #shrink(ranks: number): Promise<void> {
    const { store, sizes, minRanks, fleet, logger } = this.#options;
    const cpSize = sizes.largest(ranks, minRanks);
    if (cpSize === null) {
      const heads = sizes.heads().join(' and ');
      const expected = `one from ${minRanks} to ${ranks} that divides q_heads ${heads}, as exchanges are aligned`;
      const error = fieldError('SHAPE_MISMATCH', 'cp_size', ranks, expected, { phase: 'shrink' });
      fleet.cannotServe(error);
      logger.warn({ ranks, code: error.code, reason: error.message }, 'no legal size to shrink to');
      return;
    }
    try {
      await store.setCpSize(cpSize, { deadlineMs: CHANGE_MS });
      logger.warn({ ranks: cpSize }, 'shrunk after a loss');
    } catch (thrown) {
      const { code, message } = toUlyssesError(thrown);
      logger.warn({ code, reason: message }, 'shrinking failed');
      if (!this.#stop.signal.aborted && this.#membership !== null) this.update(this.#membership);
    }
  }
}
