import type { TraceSpan } from '@ulysses/rpc';
import { formatTable, type Column } from '../format-table.js';
import type { TracedProcess } from './traced-process.js';

const WIDTH = 72;

/** How phases are drawn; those that are waited through are faint. */
const MARKS: Readonly<Record<string, string>> = {
  agree: 'a',
  ranks: 'w',
  gather_size: 'g',
  prepare: 'p',
  run: '-',
  wait: '.',
  receive: '<',
  compute: '#',
  return: '>',
  'transfer in': 'i',
  'transfer out': 'o',
  relay: '=',
  commit: ' ',
  rest: '~',
};

/** A bar per process over the same time, what the marks mean, and how long each process spent in each phase. */
export function formatTrace(processes: readonly TracedProcess[]): string {
  const spans = processes.flatMap((process) => process.spans);
  const begin = Math.min(...spans.map(({ beginUs }) => beginUs));
  const end = Math.max(...spans.map(({ endUs }) => endUs), begin + 1);
  const widest = Math.max(...processes.map(({ process }) => process.length));
  const bars = processes.map((traced) => {
    return `${traced.process.padEnd(widest)} |${bar(traced.spans, begin, end)}|`;
  });
  const phases = Object.keys(MARKS).filter((name) => spans.some(({ phase }) => phase === name));
  const legend = phases.map((name) => `${MARKS[name] === ' ' ? 'blank' : MARKS[name]} ${name}`).join(', ');
  const head = `step ${processes[0]?.step ?? ''}: ${milliseconds(end - begin)} ms`;
  return [head, '', ...bars, `${''.padEnd(widest)}  ${legend}`, '', totals(processes, phases)].join('\n');
}

function bar(spans: readonly TraceSpan[], begin: number, end: number): string {
  const column = (at: number): number => Math.floor(((at - begin) * WIDTH) / (end - begin));
  const cells = Array.from({ length: WIDTH }, () => ' ');
  // Longest first: a short phase is at least one mark wide.
  const byLength = [...spans].sort((a, b) => b.endUs - b.beginUs - (a.endUs - a.beginUs));
  for (const { phase, beginUs, endUs } of byLength) {
    const first = Math.min(column(beginUs), WIDTH - 1);
    cells.fill(MARKS[phase] ?? '?', first, Math.max(column(endUs), first + 1));
  }
  return cells.join('');
}

function totals(processes: readonly TracedProcess[], phases: readonly string[]): string {
  const columns: Column[] = [
    { title: 'ms', align: 'left' },
    ...phases.map((title): Column => ({ title, align: 'right' })),
  ];
  const rows = processes.map(({ process, spans }) => [
    process,
    ...phases.map((name) => {
      const own = spans.filter(({ phase }) => phase === name);
      return own.length === 0
        ? ''
        : milliseconds(own.reduce((sum, span) => sum + span.endUs - span.beginUs, 0));
    }),
  ]);
  return formatTable(columns, rows);
}

function milliseconds(us: number): string {
  return (us / 1000).toFixed(2);
}
