import { AllToAll, type Link } from './all-to-all.js';
import { movedBytes } from './all-to-all-slices.js';
import { Peer, type PeerTimes } from './peer.js';
import {
  printResult,
  quantityResult,
  ratioResult,
  writeResults,
  type Result,
  type Target,
} from './results.js';
import { EXCHANGE_TARGETS as TARGETS } from './targets.js';
import { compare, median, type Window } from './windows.js';

/**
 * The exchange alone: a whole all-to-all with uneven slices between four processes of this host, against PyTorch's gloo,
 * the faster of its two ways. Windows of both sides alternate. Registering the step is not timed, as gloo's buffers
 * exist before too; acknowledgements are.
 *
 * Run: `npm run bench:setup && npm run bench:exchange`
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

const results: Result[] = [];
for (const measured of CASES) results.push(...(await measure(measured)));
results.forEach(printResult);
writeResults('exchange', results);

async function measure({ link, mib, repeats, throughput, cpu }: Case): Promise<Result[]> {
  const ours = await AllToAll.start(MEMBERS, mib, link);
  const peer = await Peer.start('gloo_all_to_all.py', [MEMBERS, mib]);
  const gigabytes = movedBytes(MEMBERS, mib) / 1e9;
  const speeds: Window[] = [];
  const cpuTimes: Window[] = [];
  try {
    // The first window of each warms memory and connections, and is dropped.
    for (let window = 0; window <= WINDOWS; window++) {
      const mine = await ours.measure(repeats);
      const theirs = fastest(await peer.measure(repeats));
      if (window === 0) continue;
      const speed = (ms: readonly number[]): number => gigabytes / (median(ms) / 1000);
      speeds.push({ value: speed(mine.ms), peer: speed(theirs.ms) });
      const total = gigabytes * repeats;
      if (theirs.cpuSeconds === undefined) throw new Error('the peer does not say its CPU time');
      cpuTimes.push({ value: mine.cpuSeconds / total, peer: theirs.cpuSeconds / total });
    }
  } finally {
    await ours.stop();
    await peer.stop();
  }
  const cpuPerGB = compare(cpuTimes);
  const found = [ratioResult(throughput, compare(speeds), { cpuPerGB })];
  if (cpu !== null) {
    found.push(
      quantityResult(
        cpu,
        cpuTimes.map(({ value }) => value),
        cpuPerGB.peer,
      ),
    );
  }
  return found;
}

function fastest(variants: Record<string, PeerTimes>): PeerTimes {
  return Object.values(variants).reduce((best, next) => (median(next.ms) < median(best.ms) ? next : best));
}
