import type { AttentionJob, BackwardUnit, ForwardUnit } from '@ulysses/native';

/** What all units of one call share. Threads are the device's own affair. */
export type DeviceJob = Omit<AttentionJob, 'threads'>;

export interface DeviceOptions {
  readonly signal: AbortSignal;
}

/**
 * Computes units of attention whose inputs lie in native memory. It knows nothing of ranks, owners or steps.
 *
 * Promises every adapter keeps: the same inputs give the same bytes on one machine; the event loop stays free; a call
 * whose signal aborts rejects with CANCELLED, and once its promise has settled nothing writes to the units any more.
 */
export interface Device {
  /** As in configuration and logs. */
  readonly name: string;
  /** Writes `out` and `lse` of every unit. */
  forward(job: DeviceJob, units: readonly ForwardUnit[], options: DeviceOptions): Promise<void>;
  /** Writes `dq` of every unit and adds to `dk`, `dv`, units in the given order. */
  backward(job: DeviceJob, units: readonly BackwardUnit[], options: DeviceOptions): Promise<void>;
}
