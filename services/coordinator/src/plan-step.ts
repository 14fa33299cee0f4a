import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { createPlan } from '@ulysses/plan';
import type { PlanStep } from '@ulysses/rpc';
import { orAborted } from '@ulysses/runtime';
import type { Attempt } from './attempt.js';
import { requireAgreement } from './agree.js';
import type { Calculators } from './calculators.js';
import type { Fleet } from './fleet.js';
import { resolveSpec } from './resolve-spec.js';

/**
 * The step protocol: agree (all owners, one spec), prepare (all ranks reserve and vote), go (owners get the plan and rows
 * move), commit (every rank finished, which includes that every owner acknowledged its rows).
 */
export async function planStep(
  attempt: Attempt,
  request: PlanStep,
  fleet: Fleet,
  calculators: Calculators,
): Promise<void> {
  await attempt.allJoined;
  const [view] = attempt.views.values();
  if (view === undefined) throw new UlyssesError('INVARIANT', 'a step without owners');
  requireAgreement(attempt.views, calculators.isAligned(view));
  const owners = [...attempt.views].sort(([a], [b]) => a - b).map(([, owner]) => owner);

  attempt.phase = 'wait for all ranks';
  const epoch = await fleet.ready(attempt.signal);
  attempt.phase = 'prepare';
  const { spec, padding } = await resolveSpec(owners, epoch.ranks.length, calculators);
  attempt.signal.throwIfAborted();
  const plan = createPlan(spec, epoch.ranks.length);
  const step = fleet.openStep(attempt.key, epoch);
  step.failed.catch((cause: unknown) => {
    attempt.fail(toUlyssesError(cause));
  });
  try {
    step.prepare({
      kind: 'prepare',
      epoch: epoch.epoch,
      step: attempt.key,
      plan,
      keep: view.keep,
      ownerCount: attempt.ownerCount,
      forward: request.forward,
      releaseForward: request.releaseForward,
      directOwners: [...attempt.directOwners],
    });
    await orAborted(step.voted, attempt.signal);

    attempt.phase = 'run';
    attempt.planned({
      kind: 'planned',
      epoch: epoch.epoch,
      attempt: attempt.key.attempt,
      plan,
      ranks: epoch.ranks,
      ...padding,
    });
    await orAborted(step.finished, attempt.signal);
    step.commit();
  } catch (thrown) {
    const cause = attempt.failure ?? toUlyssesError(thrown);
    step.abort(cause);
    throw cause;
  } finally {
    step.close();
  }
}
