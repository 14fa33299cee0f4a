import { fileURLToPath } from 'node:url';
import { UlyssesError } from '@ulysses/errors';
import { expect, it, vi } from 'vitest';
import { Attempt } from './attempt.js';
import { Calculators } from './calculators.js';
import { planStep } from './plan-step.js';
import { SAMPLE_VIEW } from './sample-view.js';

const CUSTOM = fileURLToPath(new URL('../../../test/support/gather-size-from-kwargs.mjs', import.meta.url));

it('a calculator that never answers holds a step no longer than the step lives, and its phase names it', async () => {
  const key = { job: 'job', session: 'session', call: 0, pass: 'forward', attempt: 0 } as const;
  const attempt = new Attempt(key, 1);
  const view = { ...SAMPLE_VIEW, gatherSizeCalculator: null, calculatorArguments: '{"never":true}' };
  const request = {
    step: key,
    ownerIndex: 0,
    ownerCount: 1,
    view,
    forward: null,
    releaseForward: false,
    direct: false,
  };
  const ticket = attempt.join(request, new AbortController().signal, 60_000);
  ticket.committed.catch(() => undefined);
  const kvCache = { policy: 'none', unaligned: false, budgetBytes: 0 } as const;
  const calculators = await Calculators.load(CUSTOM);
  const fleet = {
    ready: () => Promise.resolve({ epoch: 1, ranks: [] }),
    openStep: () => {
      throw new Error('the step was prepared without a gather size');
    },
  };
  const ended = planStep(attempt, fleet, calculators, kvCache).catch((thrown: unknown) => thrown);
  await vi.waitUntil(() => attempt.phase !== 'agree' && attempt.phase !== 'wait for all ranks');
  expect(attempt.phase).toBe('gather size of FromKwargs');
  const cause = new UlyssesError('DEADLINE', 'the deadline passed');
  attempt.fail(cause);
  expect(await ended).toBe(cause);
});
