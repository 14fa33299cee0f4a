import { UlyssesError } from '@ulysses/errors';
import type { ExchangeView, PlanStep, Planned, SettleStep, StepView } from '@ulysses/rpc';
import { afterEach, describe, expect, it } from 'vitest';
import type { Attempt } from './attempt.js';
import { StepRegistry } from './step-registry.js';

const LONG_MS = 60_000;

function ownSignal(): AbortSignal {
  return new AbortController().signal;
}

function request(ownerIndex: number, ownerCount: number, attempt = 0, call = 0): PlanStep {
  const step = { job: 'job', session: 'session', call, pass: 'forward', attempt } as const;
  return {
    step,
    ownerIndex,
    ownerCount,
    view: {} as StepView,
    forward: null,
    releaseForward: false,
    direct: false,
  };
}

function settling(ownerIndex: number, call = 0): SettleStep {
  return { step: request(0, 1, 0, call).step, ownerIndex };
}

/** A registry whose attempts end when the test says so. */
function registry(jobs: readonly string[] | null = null) {
  const attempts: { attempt: Attempt; commit: () => void; fail: (error: UlyssesError) => void }[] = [];
  const steps = new StepRegistry({
    jobs,
    defaultDeadlineMs: LONG_MS,
    rememberMs: LONG_MS,
    onEnded: () => undefined,
    run: (attempt) =>
      new Promise((resolve, reject) => {
        attempts.push({ attempt, commit: resolve, fail: reject });
        attempt.signal.addEventListener('abort', () => {
          reject(attempt.signal.reason as Error);
        });
      }),
  });
  open.push(steps);
  return { steps, attempts };
}
const open: StepRegistry[] = [];
afterEach(() => {
  for (const steps of open.splice(0)) steps.failAll(new UlyssesError('CANCELLED', 'the test is over'));
});

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof UlyssesError ? `${error.code} ${error.message}` : String(error)),
  );
}

describe('attempts at a step', () => {
  it('owners of one step meet in one attempt and commit together', async () => {
    const { steps, attempts } = registry();
    const tickets = [0, 1, 2].map((owner) => steps.join(request(owner, 3), ownSignal(), LONG_MS));
    expect(attempts).toHaveLength(1);
    await attempts[0]?.attempt.allJoined;
    attempts[0]?.attempt.planned({ attempt: 0 } as Planned);
    attempts[0]?.commit();
    await Promise.all(tickets.map((ticket) => ticket.committed));
    expect(steps.committed).toBe(1);
  });

  it('a failure reaches every owner, and the next calls meet in the next attempt', async () => {
    const { steps, attempts } = registry();
    const tickets = [0, 1].map((owner) => steps.join(request(owner, 2), ownSignal(), LONG_MS));
    attempts[0]?.fail(new UlyssesError('PEER_LOST', 'rank 1 was lost'));
    expect(await Promise.all(tickets.map((ticket) => codeOf(ticket.committed)))).toEqual([
      'PEER_LOST rank 1 was lost',
      'PEER_LOST rank 1 was lost',
    ]);
    steps.join(request(0, 2, 1), ownSignal(), LONG_MS);
    steps.join(request(1, 2, 1), ownSignal(), LONG_MS);
    expect(attempts).toHaveLength(2);
    expect(attempts[1]?.attempt.key.attempt).toBe(1);
    await attempts[1]?.attempt.allJoined;
  });

  it('an owner that never heard of the failed attempt joins the newest one', () => {
    const { steps, attempts } = registry();
    steps.join(request(0, 2), ownSignal(), LONG_MS).committed.catch(() => undefined);
    attempts[0]?.attempt.fail(new UlyssesError('PEER_LOST', 'rank 1 was lost'));
    steps.join(request(0, 2, 1), ownSignal(), LONG_MS);
    steps.join(request(1, 2, 0), ownSignal(), LONG_MS);
    expect(attempts).toHaveLength(2);
    expect(attempts[1]?.attempt.requests.size).toBe(2);
  });

  it('an owner that asks for a newer attempt ends the running one for everybody', async () => {
    const { steps, attempts } = registry();
    const left = steps.join(request(0, 2), ownSignal(), LONG_MS);
    steps.join(request(1, 2), ownSignal(), LONG_MS).committed.catch(() => undefined);
    steps.join(request(1, 2, 1), ownSignal(), LONG_MS);
    await expect(left.committed).rejects.toMatchObject({
      code: 'PEER_LOST',
      message: 'owner 1 gave up attempt 0',
      details: {
        field: 'attempt',
        value: 0,
        expected: 'an attempt that every owner stays with until it has ended',
        peer: 'owner 1',
      },
    });
    expect(attempts).toHaveLength(2);
  });

  it('an owner whose call broke hears that the step committed, and has nothing to repeat', async () => {
    const { steps, attempts } = registry();
    const leaving = new AbortController();
    const tickets = [
      steps.join(request(0, 2), leaving.signal, LONG_MS),
      steps.join(request(1, 2), ownSignal(), LONG_MS),
    ];
    attempts[0]?.commit();
    await Promise.all(tickets.map((ticket) => ticket.committed));
    leaving.abort();
    expect(steps.settle(settling(0))).toBe(true);
    expect(attempts).toHaveLength(1);
  });

  it('an attempt that has not committed when an owner asks ends for everybody, and does not commit after all', async () => {
    const { steps, attempts } = registry();
    const tickets = [0, 1].map((owner) => steps.join(request(owner, 2), ownSignal(), LONG_MS));
    expect(steps.settle(settling(1))).toBe(false);
    attempts[0]?.commit();
    for (const ticket of tickets) {
      expect(await codeOf(ticket.committed)).toBe('PEER_LOST owner 1 gave up attempt 0');
    }
    expect(steps.settle(settling(0))).toBe(false);
  });

  it('an older attempt, or one that nobody knows, has not committed, and the newest one goes on', () => {
    const { steps, attempts } = registry();
    steps.join(request(0, 2), ownSignal(), LONG_MS).committed.catch(() => undefined);
    steps.join(request(0, 2, 1), ownSignal(), LONG_MS);
    expect(steps.settle(settling(0))).toBe(false);
    expect(steps.settle(settling(0, 9))).toBe(false);
    expect(attempts[1]?.attempt.active).toBe(true);
  });

  it('a late owner hears of a failure that repeating cannot help, once', () => {
    const { steps, attempts } = registry();
    steps.join(request(0, 2), ownSignal(), LONG_MS).committed.catch(() => undefined);
    attempts[0]?.attempt.fail(new UlyssesError('STEP_MISMATCH', 'owner 0: dtype'));
    expect(() => steps.join(request(1, 2), ownSignal(), LONG_MS)).toThrow('owner 0: dtype');
    steps.join(request(1, 2), ownSignal(), LONG_MS);
    expect(attempts).toHaveLength(2);
  });

  it('owners that disagree how many they are get the same error', async () => {
    const { steps } = registry();
    const first = steps.join(request(0, 2), ownSignal(), LONG_MS);
    expect(() => steps.join(request(1, 3), ownSignal(), LONG_MS)).toThrow(
      'owner 1: owner_count is 3, expected 2',
    );
    expect(await codeOf(first.committed)).toContain('owner 1: owner_count is 3, expected 2');
  });

  it('an owner that cannot take part ends the step for those that wait and those that come later, with its name', async () => {
    const { steps, attempts } = registry();
    const waits = steps.join(request(1, 3), ownSignal(), LONG_MS);
    const cannot = { scatterDim: 1, failure: 'no memory left' } as ExchangeView;
    const fails = steps.join({ ...request(0, 3), view: cannot }, ownSignal(), LONG_MS);
    for (const { committed } of [waits, fails]) {
      expect(await codeOf(committed)).toBe('STEP_MISMATCH owner 0: no memory left');
    }
    expect(() => steps.join(request(2, 3), ownSignal(), LONG_MS)).toThrow('owner 0: no memory left');
    expect(attempts).toHaveLength(1);
  });

  it('two callers with one owner index are refused by name', () => {
    const { steps } = registry();
    steps.join(request(0, 2), ownSignal(), LONG_MS);
    expect(() => steps.join(request(0, 2), ownSignal(), LONG_MS)).toThrow('owner_index is 0');
  });

  it('a lost owner ends the step for the others, naming it', async () => {
    const { steps } = registry();
    const leaving = new AbortController();
    steps.join(request(1, 3), leaving.signal, LONG_MS).committed.catch(() => undefined);
    const stays = steps.join(request(0, 3), ownSignal(), LONG_MS);
    leaving.abort();
    expect(await codeOf(stays.committed)).toBe('PEER_LOST owner 1 cancelled or lost its call in phase agree');
  });

  it('at the deadline the owners that did not call are named', async () => {
    const { steps } = registry();
    const here = steps.join(request(1, 3), ownSignal(), 20);
    expect(await codeOf(here.committed)).toBe(
      'DEADLINE the deadline passed: owner 0, owner 2 of 3 did not call',
    );
  });

  it('owners that name different jobs are told of each other at the deadline', async () => {
    const { steps } = registry();
    const named = (owner: number, job: string, count = 3): PlanStep => {
      const part = request(owner, count);
      return { ...part, step: { ...part.step, job } };
    };
    const first = steps.join(named(1, 'a'), ownSignal(), 20);
    const second = steps.join(named(0, 'b'), ownSignal(), 40);
    steps.join(named(2, 'b'), ownSignal(), LONG_MS);
    // Of another size, and one that has the same owner: neither can be meant.
    steps.join(named(0, 'c', 2), ownSignal(), LONG_MS).committed.catch(() => undefined);
    steps.join(named(1, 'd'), ownSignal(), LONG_MS).committed.catch(() => undefined);
    const hint = '; a step of another name misses the others: ';
    expect(await codeOf(first.committed)).toBe(
      `DEADLINE the deadline passed: owner 0, owner 2 of 3 did not call${hint}owner 0 and owner 2 of job "b", session "session"`,
    );
    expect(await codeOf(second.committed)).toContain(
      `owner 1 of 3 did not call${hint}owner 1 of job "d", session "session", owner 1 of job "a", session "session"`,
    );
  });

  it.each([
    [0, 0, 'owner_count'],
    [0, 2 ** 32 - 1, 'owner_count'],
    [3, 3, 'owner_index'],
  ])('owner %d of %d is refused by %s', (ownerIndex, ownerCount, field) => {
    const { steps } = registry();
    const refused = (): unknown => steps.join(request(ownerIndex, ownerCount), ownSignal(), LONG_MS);
    expect(refused).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH', details: expect.objectContaining({ field }) }),
    );
    expect(steps.running).toBe(0);
  });

  it('a job that is not among the allowed ones is refused at once, by name', () => {
    const { steps } = registry(['job', 'another']);
    const of = (job: string): PlanStep => ({ ...request(0, 2), step: { ...request(0, 2).step, job } });
    expect(() => steps.join(of('jbo'), ownSignal(), LONG_MS)).toThrow(
      'job is "jbo", expected one of the --jobs of the coordinator: job, another',
    );
    expect(steps.running).toBe(0);
    steps.join(of('another'), ownSignal(), LONG_MS).committed.catch(() => undefined);
    expect(steps.running).toBe(1);
  });

  it('of many owners that never call, the error names the first', async () => {
    const { steps } = registry();
    const { committed } = steps.join(request(0, 5_000), ownSignal(), 1);
    expect(await codeOf(committed)).toMatch(/owner 15, owner 16 and 4983 more of 5000 did not call$/);
    const value: unknown = expect.stringMatching(/^1, 2, .*, 16 and 4983 more did not call$/);
    await expect(committed).rejects.toMatchObject({ details: { value } });
  });
});
