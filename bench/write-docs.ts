import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { meets, readResults, type Result } from './results.js';

/** Writes `docs/benchmarks.md` from `bench/results`: the page holds no number that a bench did not write. */
const PAGE = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));

const HEAD = `# Benchmarks

Generated from [\`bench/results\`](../bench/results) by \`npm run bench:docs\`; do not edit.

Every case compares in windows that alternate between the two sides, on one machine, in one run. A number is the median of the
windows, and the spread is the least and the most of them: of the ratio where there is one, else of the value. _must_ is what the
case is held to, _aim_ what we would like. A case that misses stays in the table.
`;

const NOTES = `
## What is compared

- **PyTorch and gloo**: \`bench/peers\`. \`all_to_all_single\` and isend/irecv with the same uneven slices, the faster of the two; and a
  whole unaligned Ulysses step, one thread per process, as a user would write it today. \`npm run bench:setup\` makes its environment.
- **Throughput** counts bytes that change process; the slice that a process keeps is copied and timed, but not counted. Registering a step is
  not timed, because gloo's buffers exist before too; acknowledgements are.
- **CPU time** is user and system time of all processes over bytes that change process.
- **Load** is the machine's load average when a case ended. Where it is more than the case's own processes, other work ran beside: then
  times are too long. \`overhead\` compares CPU time, because Linux gives several processes more of a busy machine than one.
`;

const sections = [
  { name: 'exchange', title: 'The exchange alone', command: 'npm run bench:exchange' },
  { name: 'step', title: 'Whole steps', command: 'npm run bench:step' },
  { name: 'torch', title: 'Whole steps from PyTorch', command: 'npm run bench:torch' },
].map(({ name, title, command }) => section(title, command, readResults(name)));
writeFileSync(PAGE, `${HEAD}\n${sections.join('\n')}${NOTES}`);

function section(title: string, command: string, results: readonly Result[]): string {
  const rows = results.map(row);
  const machines = [...new Set(results.map(({ machine }) => machine))];
  return `## ${title}

\`${command}\`, on ${machines.join('; ')}; commits are in the results.

| case | what | value | peer | ratio | spread | must | aim | load |
| ---- | ---- | ----- | ---- | ----- | ------ | ---- | --- | ---- |
${rows.join('\n')}
`;
}

function row(result: Result): string {
  const { what, value, unit, peer, ratio, spread, must, ambitious, lowerIsBetter, windows } = result;
  const sign = lowerIsBetter ? '≤' : '≥';
  const verdict = (limit: number): string => `${sign} ${limit} ${meets(result, limit) ? '✓' : '✗'}`;
  const cells = [
    result.case,
    what,
    `${value} ${unit}`,
    peer === null ? '–' : `${peer} ${unit}`,
    ratio ?? '–',
    `${spread[0]}–${spread[1]} (${windows})`,
    verdict(must),
    verdict(ambitious),
    result.load,
  ];
  return `| ${cells.join(' | ')} |`;
}
