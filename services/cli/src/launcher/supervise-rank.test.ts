import { fileURLToPath } from 'node:url';
import { AsyncQueue, createLogger } from '@ulysses/runtime';
import { afterEach, describe, expect, it } from 'vitest';
import { startChild } from './child.js';
import { superviseRank } from './supervise-rank.js';

const STAND_IN = fileURLToPath(new URL('stand-in-rank.mjs', import.meta.url));

type Behaviour = 'joins' | 'crashes' | 'refuses' | 'stays' | 'hangs';

interface Supervised {
  readonly pids: readonly number[];
  readonly stop: AbortController;
  readonly done: Promise<void>;
  /** What happened next, waiting for it. */
  readonly nextEvent: () => Promise<string>;
}

const stops: AbortController[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop.abort();
});

/** Life number n behaves as `behaviours[n]`, later ones as the last. */
function supervise(
  behaviours: readonly Behaviour[],
  restart = true,
  stopGraceMs = 10_000,
  readyMs = 30_000,
): Supervised {
  const stop = new AbortController();
  stops.push(stop);
  const pids: number[] = [];
  const events = new AsyncQueue<string>();
  const iterator = events[Symbol.asyncIterator]();
  let lives = 0;
  const done = superviseRank(
    {
      start: () => {
        const behaviour = behaviours[Math.min(lives, behaviours.length - 1)]!;
        const child = startChild('stand-in', STAND_IN, [behaviour]);
        pids.push(child.pid);
        return { member: `m${lives++}`, child };
      },
      revoke: async (member) => {
        events.push(`revoked ${member}`);
      },
      onJoined: ({ member }, replaces) => {
        events.push(`joined ${member}, replaces ${replaces ?? 'nobody'}`);
      },
      onLost: ({ member }, reason) => {
        events.push(`lost ${member}: ${reason}`);
      },
      restart,
      wanted: () => true,
      readyMs,
      stopGraceMs,
      logger: createLogger({ name: 'test', level: 'silent' }),
    },
    stop.signal,
  );
  done.catch(() => undefined);
  return {
    pids,
    stop,
    done,
    nextEvent: async () => String((await iterator.next()).value),
  };
}

/** Signal 0 asks whether a process exists. */
function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('superviseRank', () => {
  it('reports a killed rank, revokes its lease, then starts a replacement under a new name', async () => {
    const { pids, stop, done, nextEvent } = supervise(['joins']);
    expect(await nextEvent()).toBe('joined m0, replaces nobody');
    process.kill(pids[0]!, 'SIGKILL');
    expect(await nextEvent()).toBe('lost m0: SIGKILL');
    expect(await nextEvent()).toBe('revoked m0');
    expect(await nextEvent()).toBe('joined m1, replaces m0');
    stop.abort();
    await done;
    expect(pids.filter(exists)).toEqual([]);
  });

  it('gives up on a rank that crashes five times before it joins', async () => {
    const { pids, done } = supervise(['crashes']);
    await expect(done).rejects.toMatchObject({
      code: 'PEER_LOST',
      message: 'rank process m4 ended (exit code 1), and so did those before it, soon after their start',
    });
    expect(pids).toHaveLength(5);
  });

  it('goes on when a replacement crashes and the next one joins', async () => {
    const { stop, done, nextEvent } = supervise(['crashes', 'joins']);
    expect(await nextEvent()).toBe('lost m0: exit code 1');
    expect(await nextEvent()).toBe('revoked m0');
    expect(await nextEvent()).toBe('joined m1, replaces m0');
    stop.abort();
    await done;
  });

  it('does not repeat what a rank refuses: CONFIG', async () => {
    const { pids, done } = supervise(['refuses']);
    await expect(done).rejects.toMatchObject({ code: 'CONFIG' });
    expect(pids).toHaveLength(1);
  });

  it('replaces nobody with restart off: PEER_LOST', async () => {
    const { pids, done, nextEvent } = supervise(['joins'], false);
    await nextEvent();
    process.kill(pids[0]!, 'SIGKILL');
    await expect(done).rejects.toMatchObject({
      code: 'PEER_LOST',
      message: 'rank process m0 ended (SIGKILL) and --no-restart is set',
    });
    expect(pids).toHaveLength(1);
  });

  it('kills a rank that ignores SIGTERM when the grace is over', async () => {
    const { pids, stop, done, nextEvent } = supervise(['stays'], true, 50);
    await nextEvent();
    stop.abort();
    await done;
    expect(pids.filter(exists)).toEqual([]);
  });

  it('kills a rank that is not ready in time, and counts that as a quick death', async () => {
    const { pids, done, nextEvent } = supervise(['hangs'], true, 10_000, 1);
    expect(await nextEvent()).toBe('lost m0: SIGKILL');
    await expect(done).rejects.toMatchObject({ code: 'PEER_LOST' });
    expect(pids).toHaveLength(5);
  });
});
