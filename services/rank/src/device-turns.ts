import type { Device, DeviceOptions } from '@ulysses/device';

/** Calls that the device has: one that runs and one to follow, so that it does not wait for the event loop between them. */
const ADMITTED = 2;

/**
 * Shares one device between jobs, a call of each in turn: a job with many steps in flight delays another's call by the calls that
 * the device has already, and not by all that it has to compute.
 *
 * T1: calls of one job begin in the order in which they were made.
 * T2: a call that is cancelled while it waits ends at once and takes no turn.
 */
export class DeviceTurns {
  readonly #device: Device;
  /** Calls that wait, by job; jobs in the order of their turns. */
  readonly #waiting = new Map<string, (() => void)[]>();
  #admitted = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  /** The device as one job has it. */
  of(job: string): Device {
    const device = this.#device;
    return {
      name: device.name,
      forward: (call, units, options) =>
        this.#inTurn(job, options, () => device.forward(call, units, options)),
      backward: (call, units, options) =>
        this.#inTurn(job, options, () => device.backward(call, units, options)),
    };
  }

  async #inTurn(job: string, { signal }: DeviceOptions, call: () => Promise<void>): Promise<void> {
    if (this.#admitted < ADMITTED) this.#admitted += 1;
    // The device refuses what is cancelled, as it would have done at once.
    else if (!(await this.#turn(job, signal))) {
      await call();
      return;
    }
    try {
      await call();
    } finally {
      this.#passOn();
    }
  }

  /** True when the call is admitted, false when it was cancelled before. */
  async #turn(job: string, signal: AbortSignal): Promise<boolean> {
    return await new Promise((resolve) => {
      const calls = this.#waiting.get(job) ?? [];
      const leave = (): void => {
        calls.splice(calls.indexOf(begin), 1);
        if (calls.length === 0) this.#waiting.delete(job);
        resolve(false);
      };
      const begin = (): void => {
        signal.removeEventListener('abort', leave);
        resolve(true);
      };
      if (signal.aborted) {
        resolve(false);
        return;
      }
      signal.addEventListener('abort', leave, { once: true });
      calls.push(begin);
      this.#waiting.set(job, calls);
    });
  }

  /** The place of a call that has ended goes to the job whose turn it is. */
  #passOn(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#admitted -= 1;
      return;
    }
    const [job, calls] = next;
    const begin = calls.shift();
    this.#waiting.delete(job);
    if (calls.length > 0) this.#waiting.set(job, calls);
    begin?.();
  }
}
