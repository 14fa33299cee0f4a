import { UlyssesError } from '@ulysses/errors';
import type { Membership } from '@ulysses/rpc';

/** A seat as scripts/state.lua keeps it. */
export interface StoredSeat {
  readonly member: string;
  readonly controlAddress: string;
  readonly tensorAddress: string;
  /** On Redis's own clock. */
  readonly untilMs: number;
  readonly expired?: boolean;
  /** The epoch whose complete set has this seat. */
  readonly epoch?: number;
}

export interface StoredMembership {
  readonly lineage: string;
  readonly version: number;
  readonly epoch: number;
  /** Absent until a coordinator, or a member that Redis forgot, has said it. */
  readonly cpSize?: number;
  readonly leaseMs?: number;
  /** What all members speak. */
  readonly protocolVersion?: string;
  /** Until then holders that Redis forgot may return, and nobody else may take a rank. */
  readonly recoversUntil?: number;
  readonly seats: Readonly<Record<string, StoredSeat>>;
}

export const REFUSALS = ['UNCONFIGURED', 'VERSION', 'RECOVERING', 'FULL', 'LOST'] as const;

/** What every script answers. */
export interface StoreReply {
  readonly state: StoredMembership;
  readonly nowMs: number;
  readonly rank?: number;
  readonly refusal?: (typeof REFUSALS)[number];
  /** With LOST: who holds the rank. */
  readonly holder?: string;
}

/** The border to Redis: another program may have written the key. */
export function parseReply(reply: unknown): StoreReply {
  const { state, nowMs } = (reply ?? {}) as Partial<StoreReply>;
  const valid =
    typeof nowMs === 'number' &&
    typeof state === 'object' &&
    typeof state.lineage === 'string' &&
    Number.isSafeInteger(state.version) &&
    Number.isSafeInteger(state.epoch) &&
    typeof state.seats === 'object';
  if (!valid) throw new UlyssesError('INVARIANT', 'the membership in Redis is not one that we wrote');
  return reply as StoreReply;
}

/** The membership that watchers see. */
export function membershipOf(state: StoredMembership): Membership {
  const { epoch, cpSize = 0 } = state;
  const taken = Object.entries(state.seats)
    .filter(([, seat]) => seat.expired !== true)
    .map(([rank, seat]) => ({ rank: Number(rank), seat }))
    .sort((a, b) => a.rank - b.rank);
  const complete = cpSize > 0 && taken.length === cpSize && taken.every(({ seat }) => seat.epoch === epoch);
  const members = taken.map(({ rank, seat: { member, controlAddress, tensorAddress } }) => {
    return { rank, member, controlAddress, tensorAddress };
  });
  return { epoch, cpSize, complete, members };
}

/** True while holders that Redis forgot may still return: what is missing now is not lost yet. */
export function isRecovering({ state, nowMs }: StoreReply): boolean {
  return state.recoversUntil !== undefined && nowMs < state.recoversUntil;
}

/** How long until time alone changes the membership; Infinity when it does not. */
export function nextChangeMs({ state, nowMs }: StoreReply): number {
  const ends = Object.values(state.seats).flatMap((seat) => (seat.expired === true ? [] : [seat.untilMs]));
  if (state.recoversUntil !== undefined && state.recoversUntil > nowMs) ends.push(state.recoversUntil);
  return Math.min(...ends) - nowMs;
}
