import { toUlyssesError, type UlyssesError } from '@ulysses/errors';
import type { StepKey } from '@ulysses/native';
import { delay } from '@ulysses/runtime';
import type { Cluster } from './cluster.js';
import { transportFailed } from './replay.js';

const PAUSE_MS = 100;

/**
 * Resolves when the step committed although the call that would have said so broke; throws `failure` when it did not. The
 * other owners of a committed step have returned, so that nobody would be there to repeat it with. A lone owner needs
 * nobody, and repeats it.
 */
export async function committedAfterAll(
  cluster: Pick<Cluster, 'coordinator' | 'failOver' | 'options'>,
  step: StepKey,
  failure: UlyssesError,
  { deadlineAt, signal }: { readonly deadlineAt: number; readonly signal: AbortSignal },
): Promise<void> {
  const { ownerIndex, ownerCount } = cluster.options;
  if (ownerCount === 1 || !transportFailed(failure)) throw failure;
  for (;;) {
    const deadlineMs = Math.ceil(deadlineAt - performance.now());
    if (deadlineMs <= 0) throw failure;
    const { coordinator } = cluster;
    try {
      const { committed } = await coordinator.settleStep({ step, ownerIndex }, { deadlineMs, signal });
      if (committed) return;
      throw failure;
    } catch (thrown) {
      const error = toUlyssesError(thrown);
      if (error === failure || !transportFailed(error)) throw failure;
      cluster.failOver(coordinator, error);
    }
    await delay(PAUSE_MS, signal).catch(() => undefined);
  }
}
