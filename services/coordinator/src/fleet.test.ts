import { createLogger } from '@ulysses/runtime';
import { expect, it } from 'vitest';
import { Fleet } from './fleet.js';

it('a step whose epoch ended before it was prepared fails with the epoch that it was of', async () => {
  const fleet = new Fleet({
    logger: createLogger({ name: 'fleet', level: 'silent' }),
    ...{ term: 0, connections: {}, enterTimeoutMs: 1_000, drainMs: 0 },
    onLeaving: () => undefined,
    onDeposed: () => undefined,
  });
  const key = { job: 'job', session: 'session', call: 0, pass: 'forward', attempt: 0 } as const;
  const step = fleet.openStep(key, { epoch: 3, ranks: [] });
  await expect(step.failed).rejects.toMatchObject({
    code: 'STALE_EPOCH',
    details: {
      field: 'epoch',
      value: '3',
      expected: 'one that is ready; this one ended before the step was prepared',
    },
  });
  step.close();
  fleet.close();
});
