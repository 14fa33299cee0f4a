import type { ChildEnd } from './child.js';

/** A process that lived this long was not broken from the start. */
const HELD_MS = 10_000;
const QUICK_DEATHS = 5;
const FIRST_PAUSE_MS = 100;

/** One life of a rank process. */
export interface RankLife {
  readonly end: ChildEnd;
  readonly joined: boolean;
  readonly ranMs: number;
}

/** What follows a death: a replacement after a pause, or none. */
export type NextStart = { readonly kind: 'start'; readonly pauseMs: number } | { readonly kind: 'give-up' };

/**
 * Decides how soon a dead rank is replaced.
 *
 * P1: a rank that had joined and was killed from outside, or had held for ten seconds, is replaced at once, however often.
 * P2: otherwise the death is quick: the first is replaced at once, each further one in a row after a pause that
 *     doubles, and the fifth in a row is the last.
 */
export class RestartPace {
  #quickDeaths = 0;

  after({ end, joined, ranMs }: RankLife): NextStart {
    const killedFromOutside = end.killedBy === 'SIGKILL' || end.killedBy === 'SIGTERM';
    if (joined && (killedFromOutside || ranMs >= HELD_MS)) {
      this.#quickDeaths = 0;
      return { kind: 'start', pauseMs: 0 };
    }
    this.#quickDeaths++;
    if (this.#quickDeaths >= QUICK_DEATHS) return { kind: 'give-up' };
    const pauseMs = this.#quickDeaths === 1 ? 0 : FIRST_PAUSE_MS * 2 ** (this.#quickDeaths - 2);
    return { kind: 'start', pauseMs };
  }
}
