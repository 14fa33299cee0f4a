import { expect, it } from 'vitest';
import { chromeTrace } from './chrome-trace.js';
import { formatTrace } from './format-trace.js';
import type { TracedProcess } from './traced-process.js';

const MS = 1000;
const span = (phase: string, begin: number, end: number) => {
  return { phase, beginUs: 5_000_000 + begin * MS, endUs: 5_000_000 + end * MS };
};
const STEP = 'demo/s/3/forward/0';
const PROCESSES: readonly TracedProcess[] = [
  {
    process: 'coordinator',
    step: STEP,
    spans: [span('agree', 0, 6), span('prepare', 6, 12), span('run', 12, 72)],
  },
  {
    process: 'rank 1',
    step: STEP,
    spans: [span('wait', 12, 24), span('compute', 24, 60), span('return', 60, 66), span('commit', 66, 72)],
  },
];

it('draws every process over the same time, and sums its phases', () => {
  const lines = formatTrace(PROCESSES).split('\n');
  expect(lines[0]).toBe('step demo/s/3/forward/0: 72.00 ms');
  // One mark per millisecond; commit is blank.
  expect(lines[2]).toBe(`coordinator |${'a'.repeat(6)}${'p'.repeat(6)}${'-'.repeat(60)}|`);
  expect(lines[3]).toBe(
    `rank 1      |${' '.repeat(12)}${'.'.repeat(12)}${'#'.repeat(36)}${'>'.repeat(6)}${' '.repeat(6)}|`,
  );
  expect(lines[4]!.trim()).toBe('a agree, p prepare, - run, . wait, # compute, > return, blank commit');
  expect(lines.at(-1)).toMatch(/^rank 1 +12\.00 +36\.00 +6\.00 +6\.00$/);
});

it('shows a phase that is shorter than a mark', () => {
  const short = [
    { process: 'rank 0', step: STEP, spans: [span('wait', 0, 1000), span('compute', 1000, 1000.01)] },
  ];
  expect(formatTrace(short).split('\n')[2]).toContain('#|');
});

it('writes trace events that name threads and carry microseconds', () => {
  const { traceEvents } = JSON.parse(chromeTrace(PROCESSES)) as { traceEvents: Record<string, unknown>[] };
  expect(traceEvents).toHaveLength(2 + 3 + 4);
  expect(traceEvents[4]).toEqual({ name: 'thread_name', ph: 'M', pid: 0, tid: 1, args: { name: 'rank 1' } });
  expect(traceEvents[5]).toEqual({
    name: 'wait',
    ph: 'X',
    ts: 5_012_000,
    dur: 12_000,
    pid: 0,
    tid: 1,
    args: { step: STEP },
  });
});
