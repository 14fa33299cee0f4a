import type { Device, DeviceJob } from '@ulysses/device';
import { UlyssesError } from '@ulysses/errors';
import { describe, expect, it } from 'vitest';
import { DeviceTurns } from './device-turns.js';

const JOB: DeviceJob = { dtype: 'f32', headSize: 4, scale: 1 };
const LIVE = new AbortController().signal;

/** A device whose calls end when the test says so. Like a real one it refuses calls that are cancelled already. */
class ManualDevice implements Device {
  readonly name = 'manual';
  readonly begun: string[] = [];
  readonly #ends: (() => void)[] = [];

  forward(_job: DeviceJob, units: readonly unknown[], { signal }: { signal: AbortSignal }): Promise<void> {
    if (signal.aborted) return Promise.reject(new UlyssesError('CANCELLED', 'the call was cancelled'));
    this.begun.push(String(units[0]));
    return new Promise((resolve) => this.#ends.push(resolve));
  }

  backward(...call: Parameters<ManualDevice['forward']>): Promise<void> {
    return this.forward(...call);
  }

  /** Ends the oldest call; what follows from it has happened when this resolves. */
  async end(): Promise<void> {
    this.#ends.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function stage() {
  const device = new ManualDevice();
  const turns = new DeviceTurns(device);
  const call = (job: string, name: string, signal: AbortSignal = LIVE): Promise<void> =>
    turns.of(job).forward(JOB, [name] as never, { signal });
  return { device, call };
}

describe('calls of several jobs on one device', () => {
  it('begin in turn, however many one job has made before another', async () => {
    const { device, call } = stage();
    const calls = ['a1', 'a2', 'a3', 'a4', 'a5'].map((name) => call('a', name));
    calls.push(...['b1', 'b2'].map((name) => call('b', name)), call('c', 'c1'));
    expect(device.begun).toEqual(['a1', 'a2']);
    for (let i = 0; i < 8; i++) await device.end();
    expect(device.begun).toEqual(['a1', 'a2', 'a3', 'b1', 'c1', 'a4', 'b2', 'a5']);
    await Promise.all(calls);
  });

  it('leave no turn unused when the other job has nothing more', async () => {
    const { device, call } = stage();
    const calls = ['a1', 'a2', 'a3', 'a4'].map((name) => call('a', name));
    const other = call('b', 'b1');
    for (let i = 0; i < 5; i++) await device.end();
    await Promise.all([...calls, other]);
    expect(device.begun).toHaveLength(5);
    // And the places are free again.
    void call('c', 'c1');
    void call('c', 'c2');
    expect(device.begun.slice(5)).toEqual(['c1', 'c2']);
  });

  it('that fail give their place to the next', async () => {
    const { device, call } = stage();
    const abort = new AbortController();
    abort.abort();
    await expect(call('a', 'a1', abort.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
    void call('a', 'a2');
    void call('a', 'a3');
    expect(device.begun).toEqual(['a2', 'a3']);
  });

  it('end at once when they are cancelled while they wait, and take no turn', async () => {
    const { device, call } = stage();
    const abort = new AbortController();
    const running = [call('a', 'a1'), call('a', 'a2')];
    const cancelled = call('b', 'b1', abort.signal);
    const waiting = call('b', 'b2');
    abort.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(device.begun).toEqual(['a1', 'a2']);
    await device.end();
    expect(device.begun).toEqual(['a1', 'a2', 'b2']);
    for (let i = 0; i < 2; i++) await device.end();
    await Promise.all([...running, waiting]);
  });
});
