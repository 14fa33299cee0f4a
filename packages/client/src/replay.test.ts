import { UlyssesError } from '@ulysses/errors';
import { connectCoordinator } from '@ulysses/rpc';
import { describe, expect, it } from 'vitest';
import { withReplay, type AttemptContext, type ReplayingCluster, type ReplayOptions } from './replay.js';

const LOST = new UlyssesError('PEER_LOST', 'rank 1 was lost');
const UNREACHED = new UlyssesError('PEER_LOST', 'no answer', { grpcStatus: 'UNAVAILABLE' });
/** Nothing is sent to it. */
const COORDINATOR = connectCoordinator('127.0.0.1:1');
const PATIENT: ReplayOptions = { deadlineMs: 60_000, signal: null };

interface Replayed {
  readonly result: string;
  readonly error: UlyssesError | null;
  /** What every attempt was given. */
  readonly contexts: readonly AttemptContext[];
  readonly replays: readonly [string, number][];
}

/** Attempts end as `outcomes` says, and succeed when those are used up. */
async function replayed(
  outcomes: readonly Error[],
  options: Partial<ReplayOptions> = {},
  cluster: { contacted?: boolean; maxReplays?: number; onReplay?: () => void } = {},
): Promise<Replayed> {
  const contexts: AttemptContext[] = [];
  const replays: [string, number][] = [];
  const { contacted = true, maxReplays = Infinity, onReplay } = cluster;
  const connection: ReplayingCluster = {
    contacted,
    coordinator: COORDINATOR,
    failOver: () => undefined,
    options: {
      maxReplays,
      firstContactMs: 0,
      onReplay: ({ message }, attempt) => {
        replays.push([message, attempt]);
        onReplay?.();
      },
    },
  };
  const run = withReplay(connection, { ...PATIENT, ...options }, 5, async (context) => {
    const outcome = outcomes[contexts.length];
    contexts.push(context);
    // Attempts take a while, so that a limit of no time at all is one.
    await new Promise((resolve) => setImmediate(resolve));
    if (outcome !== undefined) throw outcome;
    return 'done';
  });
  const settled = await run.then(
    (result) => ({ result, error: null }),
    (error: unknown) => ({ result: '', error: error as UlyssesError }),
  );
  return { ...settled, contexts, replays };
}

describe('a step that is replayed', () => {
  it('asks for the next attempt each time, within what is left of the deadline, until it succeeds', async () => {
    const { result, contexts, replays } = await replayed([LOST, LOST]);
    expect(result).toBe('done');
    expect(contexts.map(({ attempt }) => attempt)).toEqual([5, 6, 7]);
    expect(replays).toEqual([
      ['rank 1 was lost', 6],
      ['rank 1 was lost', 7],
    ]);
    const left = contexts.map(({ deadlineMs }) => deadlineMs);
    expect(left).toEqual([...left].sort((a, b) => b - a));
    expect(left[0]).toBeLessThanOrEqual(60_000);
    expect(left[2]).toBeLessThan(60_000);
  });

  it.each([
    ['an error that repeating cannot help', new UlyssesError('SHAPE_MISMATCH', 'q.rows'), 'SHAPE_MISMATCH'],
    ['what is none of our errors', new TypeError('undefined is not a function'), 'INVARIANT'],
  ])('is not after %s', async (_, thrown, code) => {
    const { error, contexts, replays } = await replayed([thrown]);
    expect(error).toMatchObject({ code });
    expect(contexts).toHaveLength(1);
    expect(replays).toEqual([]);
  });

  it.each([0, 1, 3])('is at most %d times when its connection says so', async (maxReplays) => {
    const { error, contexts } = await replayed([LOST, LOST, LOST, LOST, LOST], {}, { maxReplays });
    expect(error).toBe(LOST);
    expect(contexts).toHaveLength(maxReplays + 1);
  });

  it('is not beyond its deadline: the last cause is what the caller hears', async () => {
    const forever = new Array<UlyssesError>(1000).fill(LOST);
    const { error, contexts } = await replayed(forever, { deadlineMs: 80 });
    expect(error).toBe(LOST);
    expect(contexts.length).toBeLessThan(20);
    for (const { deadlineMs } of contexts) expect(deadlineMs).toBeGreaterThan(0);
  });

  it('is not begun without time: DEADLINE', async () => {
    const { error, contexts } = await replayed([], { deadlineMs: 0 });
    const details = { field: 'deadline_ms', value: expect.any(Number) as number, expected: 'at most 0 ms' };
    expect(error).toMatchObject({ code: 'DEADLINE', details });
    expect(contexts).toEqual([]);
  });
});

describe('a signal of the caller', () => {
  it('that fired before the call: CANCELLED, without an attempt', async () => {
    const { error, contexts } = await replayed([], { signal: AbortSignal.abort('no more') });
    expect(error).toMatchObject({ code: 'CANCELLED', cause: 'no more' });
    expect(contexts).toEqual([]);
  });

  it('reaches the attempt, and whatever that throws is CANCELLED', async () => {
    const controller = new AbortController();
    const connection: ReplayingCluster = {
      contacted: true,
      coordinator: COORDINATOR,
      failOver: () => undefined,
      options: { maxReplays: Infinity, firstContactMs: 0, onReplay: () => undefined },
    };
    const options = { ...PATIENT, signal: controller.signal };
    const call = withReplay(connection, options, 0, ({ signal }) => {
      const aborted = new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reject(LOST);
        });
      });
      controller.abort();
      return aborted;
    });
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('that fires between two attempts: CANCELLED, without a further one', async () => {
    const controller = new AbortController();
    const { error, contexts } = await replayed(
      [LOST, LOST],
      { signal: controller.signal },
      {
        onReplay: () => {
          controller.abort();
        },
      },
    );
    expect(error).toMatchObject({ code: 'CANCELLED' });
    expect(contexts).toHaveLength(1);
  });
});

describe('a coordinator that cannot be reached', () => {
  it('and never was is given up after the time for a first contact, not at the deadline', async () => {
    const { error, contexts } = await replayed([UNREACHED, UNREACHED], {}, { contacted: false });
    expect(error).toBe(UNREACHED);
    expect(contexts).toHaveLength(1);
  });

  it('but was before is waited for', async () => {
    const { result, contexts } = await replayed([UNREACHED, UNREACHED]);
    expect(result).toBe('done');
    expect(contexts).toHaveLength(3);
  });

  it('is not what a lost rank is, before any contact or after', async () => {
    expect((await replayed([LOST], {}, { contacted: false })).result).toBe('done');
  });
});
