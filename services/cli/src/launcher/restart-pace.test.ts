import { describe, expect, it } from 'vitest';
import type { ChildEnd } from './child.js';
import { RestartPace, type RankLife } from './restart-pace.js';

const crash: ChildEnd = { exitCode: 1, killedBy: null, reason: 'exit code 1' };
const killed: ChildEnd = { exitCode: null, killedBy: 'SIGKILL', reason: 'SIGKILL' };
const segfault: ChildEnd = { exitCode: null, killedBy: 'SIGSEGV', reason: 'SIGSEGV' };
const life = (end: ChildEnd, joined: boolean, ranMs: number): RankLife => ({ end, joined, ranMs });

const atOnce = { kind: 'start', pauseMs: 0 };

describe('RestartPace', () => {
  it('replaces a joined rank that was killed from outside at once, however often', () => {
    const pace = new RestartPace();
    for (let i = 0; i < 100; i++) expect(pace.after(life(killed, true, 1))).toEqual(atOnce);
  });

  it('replaces a rank that crashed after it had held at once, however often', () => {
    const pace = new RestartPace();
    for (let i = 0; i < 100; i++) expect(pace.after(life(segfault, true, 10_000))).toEqual(atOnce);
  });

  it.each([
    ['crashes before it joins', life(crash, false, 500)],
    ['crashes right after it joined', life(segfault, true, 500)],
    ['is killed before it joined', life(killed, false, 60_000)],
  ])('pauses longer and longer, then gives up on a rank that %s', (_, quick) => {
    const pace = new RestartPace();
    const next = Array.from({ length: 5 }, () => pace.after(quick));
    const start = (pauseMs: number): unknown => ({ kind: 'start', pauseMs });
    expect(next).toEqual([start(0), start(100), start(200), start(400), { kind: 'give-up' }]);
  });

  it('counts quick deaths anew after a life that held', () => {
    const pace = new RestartPace();
    for (let i = 0; i < 4; i++) pace.after(life(crash, false, 1));
    pace.after(life(crash, true, 20_000));
    expect(pace.after(life(crash, false, 1))).toEqual(atOnce);
  });
});
