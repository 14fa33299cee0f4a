import type { TracedProcess } from './traced-process.js';

/** The trace event format: complete events, one thread per process, named by metadata events. */
export function chromeTrace(processes: readonly TracedProcess[]): string {
  const events = processes.flatMap(({ process, step, spans }, tid) => [
    { name: 'thread_name', ph: 'M', pid: 0, tid, args: { name: process } },
    ...spans.map(({ phase, beginUs, endUs }) => {
      return { name: phase, ph: 'X', ts: beginUs, dur: endUs - beginUs, pid: 0, tid, args: { step } };
    }),
  ]);
  return JSON.stringify({ traceEvents: events, displayTimeUnit: 'ms' });
}
