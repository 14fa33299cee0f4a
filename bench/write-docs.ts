import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { meets, readResults, type Result } from './results.js';
import { scaleSection } from './scale-section.js';

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
- **Kernels** count useful FLOPs: 4 d for every (row, key) pair that the mask leaves in forward, 2.5 times that in backward. Seconds are
  of CPU time, so other work matters less. _Peak_ is what one thread's FMA instructions did between the windows. The targets of the
  bf16 lines were set for a processor with AMX, which computes bf16 by tiles; elsewhere, and for f16 everywhere, arithmetic is float32.
- **Throughput** counts bytes that change process; the slice that a process keeps is copied and timed, but not counted. Registering a step is
  not timed, because gloo's buffers exist before too; acknowledgements are.
- **CPU time** is user and system time of all processes over bytes that change process.
- **overlap**: the cluster is in a network namespace of its own, behind the kernel's token bucket at both ends of a link, of a rate that makes
  transfer about as long as compute. _Transfer_ is the pass with a mask that shows each row its own key only: the same rows travel. _Compute_ is what the
  pass with the causal mask takes longer than that one without a limit. Hidden is the sum of both less the pass that does both, over the smaller.
- **Load** is the machine's load average when a case ended. Where it is more than the case's own processes, other work ran beside: then
  times are too long. \`overhead\` compares CPU time, because Linux gives several processes more of a busy machine than one.
`;

const sections = [
  { name: 'kernels', title: 'Kernels', command: 'npm run bench:kernels' },
  { name: 'exchange', title: 'The exchange alone', command: 'npm run bench:exchange' },
  { name: 'step', title: 'Whole steps', command: 'npm run bench:step' },
  { name: 'torch', title: 'Whole steps from PyTorch', command: 'npm run bench:torch' },
].map(({ name, title, command }) => section(title, command, readResults(name)));
const scale = scaleSection(readResults('scale'), table);
writeFileSync(PAGE, `${HEAD}\n${[...sections, scale].join('\n')}${NOTES}`);

function section(title: string, command: string, results: readonly Result[]): string {
  const machines = [...new Set(results.map(({ machine }) => machine))];
  return `## ${title}

\`${command}\`, on ${machines.join('; ')}; commits are in the results.

${table(results)}
`;
}

function table(results: readonly Result[]): string {
  return `| case | what | value | peer | ratio | spread | must | aim | load |
| ---- | ---- | ----- | ---- | ----- | ------ | ---- | --- | ---- |
${results.map(row).join('\n')}`;
}

function row(result: Result): string {
  const { what, value, unit, peer, ratio, spread, must, ambitious, lowerIsBetter, windows } = result;
  const sign = lowerIsBetter ? '≤' : '≥';
  const share = result.peakShare === undefined ? '' : `, ${Math.round(100 * result.peakShare)} % of peak`;
  const verdict = (limit: number | null): string =>
    limit === null ? '–' : `${sign} ${limit} ${meets(result, limit) ? '✓' : '✗'}`;
  const cells = [
    result.case,
    what,
    `${value} ${unit}${share}`,
    peer === null ? '–' : `${peer} ${unit}`,
    ratio ?? '–',
    `${spread[0]}–${spread[1]} (${windows})`,
    verdict(must),
    verdict(ambitious),
    result.load,
  ];
  return `| ${cells.join(' | ')} |`;
}
