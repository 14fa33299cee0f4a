import { UlyssesError } from '@ulysses/errors';
import { allocateForward, forwardBytes, unitExchange, type UnitExchange } from '@ulysses/exchange';
import type { StepKey } from '@ulysses/native';
import { createPlan } from '@ulysses/plan';
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
const BYTES = forwardBytes(EXCHANGE.places);

function keyOf(call: number, attempt = 0): StepKey {
  return { job: 'job', session: 'session', call, pass: 'forward', attempt };
}

/** A store with room for two forwards, and a clock that the test moves. */
function newStore() {
  const clock = { now: 0 };
  const store = new ForwardStore({
    budgetBytes: 2 * BYTES,
    timeToLiveMs: TIME_TO_LIVE_MS,
    now: () => clock.now,
  });
  const keep = (key: StepKey): KeptForward => {
    store.reserve(EXCHANGE);
    const kept = { key, exchange: EXCHANGE, memory: allocateForward(EXCHANGE.places) };
    store.keep(kept);
    return kept;
  };
  return { store, clock, keep };
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

const { planId } = EXCHANGE.plan;

describe('forwards kept for their backward', () => {
  it('are found by key and plan until released, and their bytes are counted', () => {
    const { store, keep } = newStore();
    const kept = keep(keyOf(1));
    expect(store.bytes).toBe(BYTES);
    expect(store.take(keyOf(1), planId).memory).toBe(kept.memory);
    store.release(keyOf(1));
    expect(store.bytes).toBe(0);
    expect(codeOf(() => store.take(keyOf(1), planId))).toBe('HANDLE_GONE');
    store.release(keyOf(1));
    expect(store.bytes).toBe(0);
  });

  it('are refused before they run when the budget does not hold them, naming what is free', () => {
    const { store, keep } = newStore();
    keep(keyOf(1));
    store.reserve(EXCHANGE);
    expect(() => {
      store.reserve(EXCHANGE);
    }).toThrow(`the store has 0 of ${2 * BYTES} bytes free, this forward needs ${BYTES}`);
    store.cancel(EXCHANGE);
    store.reserve(EXCHANGE);
    expect(store.bytes).toBe(2 * BYTES);
  });

  it('are not handed to another attempt or another plan', () => {
    const { store, keep } = newStore();
    keep(keyOf(1, 1));
    expect(codeOf(() => store.take(keyOf(1, 0), planId))).toBe('HANDLE_GONE');
    expect(codeOf(() => store.take(keyOf(1, 1), exchangeOf(9).plan.planId))).toBe('HANDLE_GONE');
    expect(codeOf(() => store.take(keyOf(1, 1), planId))).toBe('none');
  });

  it('of a newer attempt replace those of an older one', () => {
    const { store, keep } = newStore();
    keep(keyOf(1, 0));
    keep(keyOf(1, 1));
    expect(store.handles).toBe(1);
    expect(store.bytes).toBe(BYTES);
  });

  it('expire after their time to live, which every use starts anew', () => {
    const { store, clock, keep } = newStore();
    keep(keyOf(1));
    keep(keyOf(2));
    clock.now = TIME_TO_LIVE_MS - 1;
    store.take(keyOf(1), planId);
    clock.now = TIME_TO_LIVE_MS;
    expect(codeOf(() => store.take(keyOf(1), planId))).toBe('none');
    expect(codeOf(() => store.take(keyOf(2), planId))).toBe('HANDLE_GONE');
    expect(store.bytes).toBe(BYTES);
    clock.now = 10 * TIME_TO_LIVE_MS;
    store.expire();
    expect(store.bytes).toBe(0);
  });
});
