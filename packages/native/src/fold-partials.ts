import { device, submit } from './device.js';
import type { FoldJob } from './native.js';

/**
 * target = partials[0] + partials[1] + ... in this order in float32, rounded once to `dtype`; zeros when there is
 * none. Off the event loop, after the jobs submitted before.
 * @throws SHAPE_MISMATCH naming the operand that is wrong, UNSUPPORTED, CANCELLED
 */
export async function foldPartials(job: FoldJob, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
  await submit(signal, (cancellation) => device.foldPartials(job, cancellation));
}
