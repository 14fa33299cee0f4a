import { fileURLToPath } from 'node:url';
import { UlyssesError } from '@ulysses/errors';
import { KnownPlans } from '@ulysses/plan';
import type { PlanStep, RankAddress } from '@ulysses/rpc';
import { expect, it, vi } from 'vitest';
import { Attempt } from './attempt.js';
import { Calculators } from './calculators.js';
import { FleetStep } from './fleet-step.js';
import { planStep } from './plan-step.js';
import { SAMPLE_VIEW } from './sample-view.js';

const CUSTOM = fileURLToPath(new URL('../../../test/support/gather-size-from-kwargs.mjs', import.meta.url));

const KEY = { job: 'job', session: 'session', call: 0, pass: 'forward', attempt: 0 } as const;
const KV_CACHE = { policy: 'none', unaligned: false, budgetBytes: 0 } as const;

/** The call of a lone owner. */
function requestFor(view: PlanStep['view']): PlanStep {
  return {
    step: KEY,
    ownerIndex: 0,
    ownerCount: 1,
    view,
    forward: null,
    releaseForward: false,
    direct: false,
  };
}

it('a calculator that never answers holds a step no longer than the step lives, and its phase names it', async () => {
  const attempt = new Attempt(KEY, 1);
  const view = { ...SAMPLE_VIEW, gatherSizeCalculator: null, calculatorArguments: '{"never":true}' };
  const request = requestFor(view);
  const ticket = attempt.join(request, new AbortController().signal, 60_000);
  ticket.committed.catch(() => undefined);
  const calculators = await Calculators.load(CUSTOM);
  const fleet = {
    ready: () => Promise.resolve({ epoch: 1, ranks: [] }),
    openStep: () => {
      throw new Error('the step was prepared without a gather size');
    },
  };
  const ended = planStep(attempt, fleet, calculators, KV_CACHE, new KnownPlans()).catch(
    (thrown: unknown) => thrown,
  );
  await vi.waitUntil(() => attempt.phase !== 'agree' && attempt.phase !== 'wait for all ranks');
  expect(attempt.phase).toBe('gather size of FromKwargs');
  const cause = new UlyssesError('DEADLINE', 'the deadline passed');
  attempt.fail(cause);
  expect(await ended).toBe(cause);
});

it.each([
  ['vote', 'prepare', 'rank 0, rank 2'],
  ['finish', 'run', 'rank 2'],
])('ranks that do not %s by the deadline are named in its error', async (_, phase, late) => {
  const attempt = new Attempt(KEY, 1);
  const ticket = attempt.join(requestFor(SAMPLE_VIEW), new AbortController().signal, 300);
  ticket.planned.catch(() => undefined);
  ticket.committed.catch(() => undefined);
  const ranks: RankAddress[] = [0, 1, 2].map((rank) => {
    return { rank, member: `member ${rank}`, controlAddress: '', tensorAddress: '' };
  });
  const fleet = {
    ready: () => Promise.resolve({ epoch: 1, ranks }),
    openStep: () => {
      const step = new FleetStep(KEY, ranks, {
        broadcast: ({ kind }) => {
          if (kind !== 'prepare') return;
          for (const { rank } of ranks) {
            if (phase === 'run' || rank === 1) step.voteOf(rank, null);
            if (phase === 'run' && rank < 2) step.finishedBy(rank);
          }
        },
        onClose: () => undefined,
      });
      return step;
    },
  };
  const error: unknown = await planStep(
    attempt,
    fleet,
    await Calculators.load('default'),
    KV_CACHE,
    new KnownPlans(),
  ).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({
    code: 'DEADLINE',
    message: `the deadline passed: the step was still in phase ${phase}, and waited for ${late}`,
    details: { phase, peer: late },
  });
});
