import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { switchOption } from '@ulysses/runtime';
import { format, resolveConfig } from 'prettier';
import { readCommandLine } from './read-command-line.js';
import { meets, readResults, type Result } from './results.js';
import { scaleSection } from './scale-section.js';

/** Writes `docs/benchmarks.md` from `bench/results`: the page holds no number that a bench did not write. */
const PAGE = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));

const { flags } = readCommandLine({
  command: 'npm run bench:docs',
  about: 'Writes docs/benchmarks.md from bench/results. It measures nothing.',
  takes: 'It takes a second.',
  options: {
    check: switchOption({
      flag: 'check',
      env: null,
      help: 'Writes nothing, and exits with 1 when the page says something else.',
    }),
  },
});

const HEAD = `# Benchmarks

Generated from [\`bench/results\`](../bench/results) by \`npm run bench:docs\`; do not edit.

Every case compares in at least five windows that alternate between the two sides, on one machine, in one run. A number is the median of the
windows, and the spread is the least and the most of them: of the ratio where there is one, else of the value. _must_ is what the
case is held to, _aim_ what we would like. A case that misses stays in the table.
`;

type Column = readonly [name: string, of: (result: Result) => string | number];

const COLUMNS: readonly Column[] = [
  ['case', (result) => result.case],
  ['what', ({ what }) => what],
  ['value', valueOf],
  ['peer', peerOf],
  ['ratio', ({ ratio }) => ratio ?? '–'],
  ['spread', ({ spread, windows }) => `${spread[0]}–${spread[1]} (${windows})`],
  ['must', (result) => verdict(result, result.must)],
  ['aim', (result) => verdict(result, result.ambitious)],
  ['load', ({ load }) => load],
];

const NOTES = `
## What is compared

- **PyTorch and gloo**: \`bench/peers\`. \`all_to_all_single\` and isend/irecv with the same uneven slices, the faster of the two; and a
  whole unaligned Ulysses step, one thread per process, as a user would write it today. \`npm run bench:setup\` makes its environment.
- **Kernels** count useful FLOPs: 4 d for every (row, key) pair that the mask leaves in forward, 2.5 times that in backward. Seconds are
  of CPU time, so other work matters less. _Peak_ is what one thread's FMA instructions did between the windows, for bf16 its
  bfloat16 products by vectors (VDPBF16PS) where it has them; AMX does more. f16 is computed in float32.
- **Throughput** counts bytes that change process; the slice that a process keeps is copied and timed, but not counted. Registering a step is
  not timed, because gloo's buffers exist before too; acknowledgements are.
- **Whole steps** are those of processes that have made 2000 empty ones, in which V8 compiles what a step runs; but in _kill_ and _fairness_.
- **CPU time** is user and system time of all processes over bytes that change process; throughput has it beside it.
- **overlap**: the cluster is in a network namespace of its own, behind the kernel's token bucket at both ends of a link, of a rate that makes
  transfer about as long as compute. _Transfer_ is the pass with a mask that shows each row its own key only: the same rows travel. _Compute_ is what the
  pass with the causal mask takes longer than that one without a limit. Hidden is the sum of both less the pass that does both, over the smaller.
  _limiter_ is the CPU time of trainer, cluster and the kernel's interrupts, in which the bucket works, while rows pass under the limit, less that of
  the same rows without it, over the time of the former. So it counts all that a limit changes: smaller packets and more waiting too.
- **Load** is the machine's load average when a case ended. Where it is more than the case's own processes, other work ran beside: then
  times are too long. \`overhead\` compares CPU time, because Linux gives several processes more of a busy machine than one.
`;

const sections = [
  { name: 'kernels', title: 'Kernels', command: 'npm run bench:kernels' },
  { name: 'exchange', title: 'The exchange alone', command: 'npm run bench:exchange' },
  { name: 'step', title: 'Whole steps', command: 'npm run bench:step' },
  { name: 'torch', title: 'Whole steps from PyTorch', command: 'npm run bench:torch' },
].map(({ name, title, command }) => section(title, command, readResults(name)));
const scaleResults = readResults('scale');
const scalePlaces = placesOf(scaleResults);
const scalePlace = `on ${scalePlaces.machines.join('; ')}, at ${scalePlaces.commits.join(', ')}`;
const scale = scaleSection(scaleResults, scalePlace, table);
const text = `${HEAD}\n${[...sections, scale].join('\n')}${NOTES}`;
const page = await format(text, { ...(await resolveConfig(PAGE)), filepath: PAGE });
if (!flags.check) writeFileSync(PAGE, page);
else if (readFileSync(PAGE, 'utf8') !== page) {
  console.error('docs/benchmarks.md is not what bench/results say; run: npm run bench:docs');
  process.exitCode = 1;
} else console.log('benchmarks: docs/benchmarks.md is what bench/results say');

function section(title: string, command: string, results: readonly Result[]): string {
  return `## ${title}

\`${command}\`, ${placeOf(results)}.

${table(results)}
`;
}

/** Machine and commit of all results; where they differ, the table has them row by row. */
function placeOf(results: readonly Result[]): string {
  const { machines, commits } = placesOf(results);
  const machine = machines.length > 1 ? 'the machines of the table' : machines.join();
  const commit = commits.length > 1 ? 'the commits of the table' : commits.join();
  return `on ${machine}, at ${commit}`;
}

function placesOf(results: readonly Result[]): { machines: string[]; commits: string[] } {
  const distinct = (of: (result: Result) => string): string[] => [...new Set(results.map(of))];
  return { machines: distinct(({ machine }) => machine), commits: distinct(({ commit }) => commit) };
}

function table(results: readonly Result[]): string {
  const { machines, commits } = placesOf(results);
  const columns = [...COLUMNS];
  if (machines.length > 1) columns.push(['machine', ({ machine }) => machine]);
  if (commits.length > 1) columns.push(['commit', ({ commit }) => commit]);
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  const rows = results.map((result) => line(columns.map(([, of]) => of(result))));
  return [line(columns.map(([name]) => name)), line(columns.map(() => '----')), ...rows].join('\n');
}

function valueOf({ value, unit, peakShare, cpuPerGB }: Result): string {
  const share = peakShare === undefined ? '' : `, ${Math.round(100 * peakShare)} % of peak`;
  return `${value} ${unit}${share}${cpuPerGB === undefined ? '' : `, ${cpuPerGB.value} CPU-s/GB`}`;
}

function peerOf({ peer, unit, cpuPerGB }: Result): string {
  if (peer === null) return '–';
  return `${peer} ${unit}${cpuPerGB === undefined ? '' : `, ${cpuPerGB.peer} CPU-s/GB`}`;
}

function verdict(result: Result, limit: number | null): string {
  const sign = result.lowerIsBetter ? '≤' : '≥';
  return limit === null ? '–' : `${sign} ${limit} ${meets(result, limit) ? '✓' : '✗'}`;
}
