import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import {
  calculatorName,
  createExchangePlan,
  type ExchangePlan,
  type Keep,
  type KnownPlans,
  type KvCachePolicy,
  type Padding,
  type Plan,
} from '@ulysses/plan';
import { isExchangeView, type ExchangeView, type StepView } from '@ulysses/rpc';
import { orAborted } from '@ulysses/runtime';
import type { Attempt } from './attempt.js';
import { requireAgreement, requireExchangeAgreement, requireOneOperation, type OwnersPart } from './agree.js';
import type { Calculators } from './calculators.js';
import type { Fleet } from './fleet.js';
import { alignmentOf, resolveKvCachePolicy, type KvCacheDefaults } from './kv-cache.js';
import { resolveExchange } from './resolve-exchange.js';
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
  plans: KnownPlans,
): Promise<void> {
  await attempt.allJoined;
  const requests = [...attempt.requests.values()].sort((a, b) => a.ownerIndex - b.ownerIndex);
  const [request] = requests;
  if (request === undefined) throw new UlyssesError('INVARIANT', 'a step without owners');
  requireOneOperation(requests);
  const resolve = isExchange(requests)
    ? agreedExchange(requests)
    : agreedAttention(attempt, requests as readonly OwnersPart[], calculators, kvCache, plans);

  attempt.phase = 'wait for all ranks';
  const epoch = await fleet.ready(attempt.signal);
  const { plan, keep, kvCachePolicy, alignedByPolicy, padding } = await resolve(epoch.ranks.length);
  attempt.phase = 'prepare';
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
      keep,
      kvCachePolicy,
      ownerCount: attempt.ownerCount,
      forward: request.forward,
      releaseForward: request.releaseForward,
      directOwners: requests.filter(({ direct }) => direct).map(({ ownerIndex }) => ownerIndex),
    });
    attempt.waitsFor = () => step.voting;
    await orAborted(step.voted, attempt.signal);

    attempt.phase = 'run';
    attempt.waitsFor = () => step.unfinished;
    attempt.planned({
      kind: 'planned',
      epoch: epoch.epoch,
      attempt: attempt.key.attempt,
      plan,
      ranks: epoch.ranks,
      ...padding,
      kvCachePolicy,
      alignedByPolicy,
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

/** What a step becomes once it is known how many ranks there are. */
interface Resolved {
  readonly plan: Plan | ExchangePlan;
  readonly keep: Keep;
  readonly kvCachePolicy: KvCachePolicy;
  readonly alignedByPolicy: boolean;
  readonly padding: Padding;
}

type Resolve = (cpSize: number) => Promise<Resolved>;

function isExchange(
  parts: readonly OwnersPart<StepView | ExchangeView>[],
): parts is readonly OwnersPart<ExchangeView>[] {
  return parts.every(({ view }) => isExchangeView(view));
}

function agreedExchange(parts: readonly OwnersPart<ExchangeView>[]): Resolve {
  requireExchangeAgreement(parts);
  const owners = parts.map(({ view }) => view);
  return (cpSize) =>
    Promise.resolve({
      plan: createExchangePlan(resolveExchange(owners, cpSize)),
      keep: 'none',
      kvCachePolicy: 'none',
      alignedByPolicy: false,
      padding: { paddingRows: 0, paddingRowsNotExchanged: 0 },
    });
}

function agreedAttention(
  attempt: Attempt,
  parts: readonly OwnersPart[],
  calculators: Calculators,
  kvCache: KvCacheDefaults,
  plans: KnownPlans,
): Resolve {
  const owners = parts.map(({ view }) => view);
  const [view] = owners;
  if (view === undefined) throw new UlyssesError('INVARIANT', 'a step without owners');
  const alignment = alignmentOf(view, calculators, kvCache);
  requireAgreement(parts, alignment);
  attempt.alignedHeads = alignment.aligned ? view.qHeads : null;
  if (attempt.key.pass === 'backward' && view.keep === 'none') {
    throw fieldError('UNSUPPORTED', 'keep', 'none', 'store or recompute in a forward that has a backward');
  }
  return async (cpSize) => {
    attempt.phase = `gather size of ${view.clientCalculator ?? calculatorName(calculators.of(view))}`;
    // A calculator is somebody else's code, and may never answer.
    const resolving = resolveSpec(owners, cpSize, calculators, alignment);
    const { spec, padding } = await orAborted(resolving, attempt.signal);
    const plan = plans.created(spec, cpSize);
    const kvCachePolicy = resolveKvCachePolicy(view, plan, kvCache);
    return { plan, keep: view.keep, kvCachePolicy, alignedByPolicy: alignment.byPolicy, padding };
  };
}
