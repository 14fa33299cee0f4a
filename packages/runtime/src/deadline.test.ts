import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { UlyssesError } from '@ulysses/errors';
import { deadlineSignal, delay, linkSignals, orAborted } from './deadline.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('deadlineSignal', () => {
  it('aborts with DEADLINE when the time is up, not before', () => {
    const { signal } = deadlineSignal(500);
    vi.advanceTimersByTime(499);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(signal.reason).toMatchObject({ code: 'DEADLINE', details: { ms: 500 } });
  });

  it('aborts with the reason of its parent when that is first', () => {
    const parent = new AbortController();
    const { signal } = deadlineSignal(500, parent.signal);
    const reason = new UlyssesError('LEASE_LOST', 'gone');
    parent.abort(reason);
    vi.advanceTimersByTime(1000);
    expect(signal.reason).toBe(reason);
  });

  it('is aborted from the start under a parent that is', () => {
    expect(deadlineSignal(500, AbortSignal.abort('over')).signal.reason).toBe('over');
  });

  it('keeps no timer and follows no parent after release', () => {
    const parent = new AbortController();
    const { signal, release } = deadlineSignal(500, parent.signal);
    release();
    expect(vi.getTimerCount()).toBe(0);
    parent.abort();
    expect(signal.aborted).toBe(false);
  });

  it('does not fire at once for a time that no timer can hold', () => {
    const { signal } = deadlineSignal(2 ** 33);
    vi.advanceTimersByTime(1000);
    expect(signal.aborted).toBe(false);
  });
});

describe('linkSignals', () => {
  it('aborts with the first of its parents, absent ones aside', () => {
    const [a, b] = [new AbortController(), new AbortController()];
    const { signal } = linkSignals([a.signal, undefined, b.signal]);
    b.abort('b');
    a.abort('a');
    expect(signal.reason).toBe('b');
  });

  it('lets a parent have many children at a time, without the warning of a leak', () => {
    const warned = vi.spyOn(process, 'emitWarning');
    const parent = new AbortController();
    const children = Array.from({ length: 32 }, () => linkSignals([parent.signal]));
    expect(warned).not.toHaveBeenCalled();
    for (const { release } of children) release();
    warned.mockRestore();
  });
});

describe('delay', () => {
  it('resolves when its time has passed', async () => {
    const waiting = delay(100, new AbortController().signal);
    vi.advanceTimersByTime(100);
    await expect(waiting).resolves.toBeUndefined();
  });

  it('throws the reason of its signal and keeps no timer', async () => {
    const controller = new AbortController();
    const waiting = delay(100, controller.signal);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    expect(vi.getTimerCount()).toBe(0);
    await expect(delay(100, controller.signal)).rejects.toThrow('enough');
  });
});

describe('orAborted', () => {
  it('settles as its promise does', async () => {
    const { signal } = new AbortController();
    await expect(orAborted(Promise.resolve(7), signal)).resolves.toBe(7);
    await expect(orAborted(Promise.reject(new Error('no')), signal)).rejects.toThrow('no');
  });

  it('throws the reason of its signal while the promise is pending', async () => {
    const controller = new AbortController();
    const waiting = orAborted(new Promise(() => undefined), controller.signal);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });
});
