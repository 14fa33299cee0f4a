import { device, submit, type JobOptions } from './device.js';
import type { MatmulJob } from './native.js';

/**
 * Matrix product in float32, off the event loop, after the jobs submitted before.
 * @throws SHAPE_MISMATCH naming the operand that is wrong, UNSUPPORTED, CANCELLED
 */
export async function matmul(job: MatmulJob, { signal, isa }: JobOptions = {}): Promise<void> {
  await submit(signal, (cancellation) => device.matmul(job, isa ?? null, cancellation));
}
