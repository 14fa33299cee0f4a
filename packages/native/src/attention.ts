import { device, submit, type JobOptions } from './device.js';
import type { AttentionJob, BackwardUnit, ForwardUnit } from './types.js';

/**
 * Attention of every unit: writes out [rows, d] and lse [rows]. Off the event loop, after the jobs submitted before.
 * `bounds` arrays are copied at once; regions are lent until the promise settles.
 * @throws SHAPE_MISMATCH naming the field that is wrong, UNSUPPORTED for headSize > 256, an unknown dtype or an
 * instruction set that this machine lacks, CANCELLED
 */
export async function attentionForward(
  job: AttentionJob,
  units: readonly ForwardUnit[],
  { signal, isa }: JobOptions = {},
): Promise<void> {
  await submit(signal, (cancellation) => device.attentionForward(job, units, isa ?? null, cancellation));
}

/**
 * Gradients of every unit: writes dq [rows, d] in the job's dtype, adds to dk and dv [kvRows, d] float32, units in
 * the given order. Several units may name the same dk and dv. Otherwise as `attentionForward`.
 */
export async function attentionBackward(
  job: AttentionJob,
  units: readonly BackwardUnit[],
  { signal, isa }: JobOptions = {},
): Promise<void> {
  await submit(signal, (cancellation) => device.attentionBackward(job, units, isa ?? null, cancellation));
}
