import { UlyssesError } from '@ulysses/errors';
import type { PlanStep, Planned, SettleStep, StepView } from '@ulysses/rpc';
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
function registry() {
  const attempts: { attempt: Attempt; commit: () => void; fail: (error: UlyssesError) => void }[] = [];
  const steps = new StepRegistry({
    defaultDeadlineMs: LONG_MS,
    rememberMs: LONG_MS,
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
    expect(await codeOf(left.committed)).toBe('PEER_LOST owner 1 gave up attempt 0');
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
});
