import { UlyssesError } from '@ulysses/errors';
import { fromNative } from './from-native.js';
import { addon, type NativeCancellation } from './native.js';
import type { Isa } from './types.js';

/** One thread that runs the jobs of this environment in the order in which they were submitted. */
export const device = new addon.Device();

export interface JobOptions {
  /** Aborting it ends the job, queued or running, with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
  /** Instruction set to use instead of the best one that this machine has. */
  readonly isa?: Isa | undefined;
}

function cancelled(cause: unknown): UlyssesError {
  return new UlyssesError('CANCELLED', 'the call was cancelled', {}, cause);
}

/** Submits one job and waits for it. The memory it was lent is free again when this settles. */
export async function submit(
  signal: AbortSignal | undefined,
  start: (cancellation: NativeCancellation | null) => Promise<void>,
): Promise<void> {
  if (signal?.aborted) throw cancelled(signal.reason);
  const cancellation = signal === undefined ? null : new addon.Cancellation();
  const cancel = () => cancellation?.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    await start(cancellation);
  } catch (thrown) {
    const error = fromNative(thrown);
    throw error.code === 'CANCELLED' ? cancelled(signal?.reason) : error;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

/** The best instruction set that this machine has and the kernels are compiled for. */
export function detectIsa(): Isa {
  return device.detectIsa();
}
