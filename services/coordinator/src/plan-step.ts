import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import { calculatorName, createPlan } from '@ulysses/plan';
import { orAborted } from '@ulysses/runtime';
import type { Attempt } from './attempt.js';
import { requireAgreement } from './agree.js';
import type { Calculators } from './calculators.js';
import type { Fleet } from './fleet.js';
import { alignmentOf, resolveKvCachePolicy, type KvCacheDefaults } from './kv-cache.js';
import { resolveSpec } from './resolve-spec.js';

/**
 * The step protocol: agree (all owners, one spec), prepare (all ranks reserve and vote), go (owners get the plan and rows
 * move), commit (every rank finished, which includes that every owner acknowledged its rows).
 */
export async function planStep(
  attempt: Attempt,
  fleet: Pick<Fleet, 'ready' | 'openStep'>,
  calculators: Calculators,
  kvCache: KvCacheDefaults,
): Promise<void> {
  await attempt.allJoined;
  const requests = [...attempt.requests.values()].sort((a, b) => a.ownerIndex - b.ownerIndex);
  const [request] = requests;
  if (request === undefined) throw new UlyssesError('INVARIANT', 'a step without owners');
  const { view } = request;
  const alignment = alignmentOf(view, calculators, kvCache);
  requireAgreement(requests, alignment);
  if (attempt.key.pass === 'backward' && view.keep === 'none') {
    throw fieldError('UNSUPPORTED', 'keep', 'none', 'store or recompute in a forward that has a backward');
  }

  attempt.phase = 'wait for all ranks';
  const epoch = await fleet.ready(attempt.signal);
  attempt.phase = `gather size of ${view.clientCalculator ?? calculatorName(calculators.of(view))}`;
  // A calculator is somebody else's code, and may never answer.
  const owners = requests.map((owner) => owner.view);
  const resolving = resolveSpec(owners, epoch.ranks.length, calculators, alignment);
  const { spec, padding } = await orAborted(resolving, attempt.signal);
  attempt.phase = 'prepare';
  const plan = createPlan(spec, epoch.ranks.length);
  const kvCachePolicy = resolveKvCachePolicy(view, plan, kvCache);
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
      kvCachePolicy,
      ownerCount: attempt.ownerCount,
      forward: request.forward,
      releaseForward: request.releaseForward,
      directOwners: requests.filter(({ direct }) => direct).map(({ ownerIndex }) => ownerIndex),
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
      kvCachePolicy,
      alignedByPolicy: alignment.byPolicy,
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
