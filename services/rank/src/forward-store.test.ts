import { UlyssesError } from '@ulysses/errors';
import { allocateForward, unitExchange, type UnitExchange } from '@ulysses/exchange';
import type { StepKey } from '@ulysses/native';
import { createPlan, keptBytes } from '@ulysses/plan';
import { describe, expect, it } from 'vitest';
import { ForwardStore, type KeptForward } from './forward-store.js';

const TIME_TO_LIVE_MS = 100;

function exchangeOf(rows: number): UnitExchange {
  const spec = {
    dtype: 'f32',
    layout: 'sbhd',
    batch: 1,
    qHeads: 2,
    kvHeads: 1,
    headSize: 4,
    qSplits: [rows],
    kvSplits: [rows],
    mask: { left: null, right: null, segments: null, validRanges: null },
    scale: 1,
    strategy: 'heads',
    weights: null,
  } as const;
  return unitExchange(createPlan(spec, 2), 0);
}

const EXCHANGE = exchangeOf(8);
const BYTES = keptBytes(EXCHANGE.plan.spec, EXCHANGE.places.table, 'none');

function keyOf(call: number, attempt = 0, job = 'job', session = 'session'): StepKey {
  return { job, session, call, pass: 'forward', attempt };
}

/** A store with room for two forwards, and as many of one job as said, with a clock that the test moves. */
function newStore(forwardsPerJob = 2) {
  const clock = { now: 0 };
  const store = new ForwardStore({
    budgetBytes: 2 * BYTES,
    jobBudgetBytes: forwardsPerJob * BYTES,
    timeToLiveMs: TIME_TO_LIVE_MS,
    now: () => clock.now,
  });
  const keep = (key: StepKey): KeptForward => {
    store.reserve(key, BYTES);
    const memory = allocateForward(EXCHANGE.places);
    const kept = { key, exchange: EXCHANGE, policy: 'none' as const, memory, bytes: BYTES };
    store.keep(kept);
    return kept;
  };
  /** As a backward does from start to end. */
  const use = (key: StepKey, planId = EXCHANGE.plan.planId): KeptForward => {
    const { forward, done } = store.take(key, planId, 'none');
    done();
    return forward;
  };
  return { store, clock, keep, use };
}

function refusal(action: () => unknown): UlyssesError {
  try {
    action();
  } catch (error) {
    if (error instanceof UlyssesError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof UlyssesError) return error.code;
    throw error;
  }
  return 'none';
}

describe('forwards kept for their backward', () => {
  it('are found by key and plan until released, and their bytes are counted', () => {
    const { store, keep, use } = newStore();
    const kept = keep(keyOf(1));
    expect(store.bytes).toBe(BYTES);
    expect(use(keyOf(1)).memory).toBe(kept.memory);
    store.release(keyOf(1));
    expect(store.bytes).toBe(0);
    expect(codeOf(() => use(keyOf(1)))).toBe('HANDLE_GONE');
    store.release(keyOf(1));
    expect(store.bytes).toBe(0);
  });

  it('are refused before they run when the budget does not hold them, naming what is free', () => {
    const { store, keep } = newStore();
    keep(keyOf(1));
    store.reserve(keyOf(2), BYTES);
    expect(() => {
      store.reserve(keyOf(3), BYTES);
    }).toThrow(`the store has 0 of ${2 * BYTES} bytes free, this forward needs ${BYTES}`);
    store.cancel(keyOf(2), BYTES);
    store.reserve(keyOf(3), BYTES);
    expect(store.bytes).toBe(2 * BYTES);
  });

  it('of one job leave the budgets of others alone', () => {
    const { store, keep } = newStore(1);
    keep(keyOf(1, 0, 'greedy'));
    const error = refusal(() => {
      store.reserve(keyOf(2, 0, 'greedy'), BYTES);
    });
    expect(error.code).toBe('OVERLOADED');
    expect(error.message).toContain(`job greedy has 0 of ${BYTES} bytes free`);
    expect(error.message).toContain('--store-bytes-per-job');
    keep(keyOf(1, 0, 'modest'));
    expect(store.bytes).toBe(2 * BYTES);
    store.release(keyOf(1, 0, 'greedy'));
    keep(keyOf(3, 0, 'greedy'));
  });

  it('say that recomputing is the remedy when the session fills the store itself, or nothing ever fits', () => {
    const { store, keep } = newStore();
    keep(keyOf(1, 0, 'job', 'a'));
    keep(keyOf(2, 0, 'job', 'a'));
    const remedyFor = (session: string, bytes: number): unknown =>
      refusal(() => {
        store.reserve(keyOf(3, 0, 'job', session), bytes);
      }).details['remedy'];
    expect(remedyFor('a', BYTES)).toBe('recompute');
    expect(remedyFor('b', BYTES)).toBeUndefined();
    expect(remedyFor('b', 2 * BYTES + 1)).toBe('recompute');
    store.release(keyOf(1, 0, 'job', 'a'));
    store.release(keyOf(2, 0, 'job', 'a'));
    keep(keyOf(3, 0, 'job', 'b'));
    expect(remedyFor('a', 2 * BYTES)).toBeUndefined();
  });

  it('are not handed to another attempt, another plan or another policy', () => {
    const { store, keep, use } = newStore();
    keep(keyOf(1, 1));
    expect(codeOf(() => use(keyOf(1, 0)))).toBe('HANDLE_GONE');
    expect(codeOf(() => use(keyOf(1, 1), exchangeOf(9).plan.planId))).toBe('HANDLE_GONE');
    expect(codeOf(() => store.take(keyOf(1, 1), EXCHANGE.plan.planId, 'half'))).toBe('HANDLE_GONE');
    expect(codeOf(() => use(keyOf(1, 1)))).toBe('none');
  });

  it('of a newer attempt replace those of an older one', () => {
    const { store, keep } = newStore();
    keep(keyOf(1, 0));
    keep(keyOf(1, 1));
    expect(store.handles).toBe(1);
    expect(store.bytes).toBe(BYTES);
  });

  it('expire after their time to live, which every use starts anew', () => {
    const { store, clock, keep, use } = newStore();
    keep(keyOf(1));
    keep(keyOf(2));
    clock.now = TIME_TO_LIVE_MS - 1;
    use(keyOf(1));
    clock.now = TIME_TO_LIVE_MS;
    expect(codeOf(() => use(keyOf(1)))).toBe('none');
    expect(codeOf(() => use(keyOf(2)))).toBe('HANDLE_GONE');
    expect(store.bytes).toBe(BYTES);
    clock.now = 10 * TIME_TO_LIVE_MS;
    store.expire();
    expect(store.bytes).toBe(0);
  });

  it('outlive their time and their release while a backward reads them, and not longer', () => {
    const { store, clock, keep } = newStore();
    const kept = keep(keyOf(1));
    const { done } = store.take(keyOf(1), EXCHANGE.plan.planId, 'none');
    clock.now = 10 * TIME_TO_LIVE_MS;
    store.expire();
    expect(store.handles).toBe(1);
    store.release(keyOf(1));
    expect(store.handles).toBe(0);
    expect(store.bytes).toBe(BYTES);
    expect(kept.memory.q.bytes).toHaveLength(kept.memory.q.sizeBytes);
    done();
    expect(store.bytes).toBe(0);
    expect(() => kept.memory.q.bytes).toThrow('a live region');
  });
});
