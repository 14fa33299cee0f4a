import { AllToAll, type Link } from './all-to-all.js';
import { movedBytes } from './all-to-all-slices.js';
import { Peer, type PeerTimes } from './peer.js';
import { readCommandLine } from './read-command-line.js';
import {
  printResult,
  quantityResult,
  ratioResult,
  writeResults,
  type Result,
  type Target,
} from './results.js';
import { EXCHANGE_TARGETS as TARGETS } from './targets.js';
import { alternate, compare, median, type Comparison } from './windows.js';

/**
 * The exchange alone: a whole all-to-all with uneven slices between four processes of this host, against PyTorch's gloo,
 * the faster of its two ways. Windows of both sides alternate. Registering the step is not timed, as gloo's buffers
 * exist before too; acknowledgements are.
 */
const MEMBERS = 4;
const WINDOWS = 7;

interface Case {
  readonly link: Link;
  readonly mib: number;
  readonly repeats: number;
  readonly throughput: Target;
  readonly cpu: Target | null;
}

const CASES: readonly Case[] = [
  { link: 'tcp', mib: 4, repeats: 40, throughput: TARGETS['tcp 4MiB'], cpu: null },
  { link: 'tcp', mib: 64, repeats: 6, throughput: TARGETS['tcp 64MiB'], cpu: TARGETS['cpu tcp'] },
  { link: 'mtls', mib: 64, repeats: 6, throughput: TARGETS['mtls 64MiB'], cpu: null },
  { link: 'unix', mib: 64, repeats: 6, throughput: TARGETS['unix 64MiB'], cpu: null },
  { link: 'shm-staged', mib: 64, repeats: 6, throughput: TARGETS['shm-staged 64MiB'], cpu: null },
  { link: 'shm-pool', mib: 64, repeats: 6, throughput: TARGETS['shm-pool 64MiB'], cpu: TARGETS['cpu pool'] },
];

const { wants } = readCommandLine({
  command: 'npm run bench:exchange',
  about: `The exchange alone: a whole all-to-all with uneven slices between four processes of this host, against PyTorch's gloo
(npm run bench:setup first). Cases of 64 MiB over tcp and shm-pool also give "cpu tcp" and "cpu pool". What is measured goes to
bench/results/exchange.json, and with npm run bench:docs to docs/benchmarks.md.`,
  takes: 'All of it takes about two minutes.',
  options: {},
  cases: { by: 'name', of: () => CASES.map(({ throughput }) => throughput.case) },
});

for (const measured of CASES) {
  if (!wants(measured.throughput.case)) continue;
  const results = await measure(measured);
  results.forEach(printResult);
  writeResults('exchange', results);
}

async function measure({ link, mib, repeats, throughput, cpu }: Case): Promise<Result[]> {
  const ours = await AllToAll.start(MEMBERS, mib, link);
  const peer = await Peer.start('gloo_all_to_all.py', [MEMBERS, mib]);
  const gigabytes = movedBytes(MEMBERS, mib) / 1e9;
  /** Of one window: GB per second, and CPU seconds of all processes per GB. */
  const figures = ({ ms, cpuSeconds }: PeerTimes): { speed: number; cpu: number } => {
    if (cpuSeconds === undefined) throw new Error('the peer does not say its CPU time');
    return { speed: gigabytes / (median(ms) / 1000), cpu: cpuSeconds / (gigabytes * repeats) };
  };
  try {
    const windows = await alternate(
      WINDOWS,
      async () => figures(await ours.measure(repeats)),
      async () => figures(fastest(await peer.measure(repeats))),
    );
    const of = (kind: 'speed' | 'cpu'): Comparison =>
      compare(windows.map(({ value, peer }) => ({ value: value[kind], peer: peer[kind] })));
    const cpuPerGB = of('cpu');
    const found = [ratioResult(throughput, of('speed'), { cpuPerGB })];
    const cpuTimes = windows.map(({ value }) => value.cpu);
    return cpu === null ? found : [...found, quantityResult(cpu, cpuTimes, cpuPerGB.peer)];
  } finally {
    await ours.stop();
    await peer.stop();
  }
}

function fastest(variants: Record<string, PeerTimes>): PeerTimes {
  return Object.values(variants).reduce((best, next) => (median(next.ms) < median(best.ms) ? next : best));
}
