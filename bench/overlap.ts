import { createPlan, explainPlan, splitSizes } from '@ulysses/plan';
import { BenchCluster } from './cluster.js';
import { LimitedLink } from './limited-link.js';
import { Owners, type StepShape } from './owners.js';
import { quantityResult, type Result, type Target } from './results.js';
import { median } from './windows.js';

/** The most that the link carries in each direction. */
const MOST_BYTES_PER_SECOND = 200e6;

/** What one window measured, in milliseconds. */
interface Times {
  /** The pass with next to nothing to compute, over the link with its limit. */
  readonly transfer: number;
  /** What the pass takes longer than that one on a link without a limit. */
  readonly compute: number;
  /** The pass over the link with its limit. */
  readonly both: number;
  /** Of a core, the network in the kernel, limiter included, while both went on. */
  readonly limiter: number;
  /** Of the link, in each direction, in bytes per second. */
  readonly rate: number;
}

/**
 * How much of the smaller of transfer and compute is hidden behind the larger one, when owners and ranks are joined by a link whose
 * rate makes them about as long as each other.
 */
export async function overlap(
  target: Target,
  pass: 'forward' | 'backward',
  shape: StepShape,
  { ranks, owners: count, windows }: { ranks: number; owners: number; windows: number },
): Promise<Result> {
  const link = new LimitedLink();
  try {
    const flags = ['--no-restart', '--listen', `${link.host}:0`, '--insecure'];
    const cluster = await BenchCluster.start(ranks, flags, link.inside);
    try {
      const owners = await Owners.connect(cluster.address, count, 0);
      try {
        const bytes = busierDirection(shape, ranks, count)[pass];
        const measured = await measure(owners, link, shape, pass, bytes, windows);
        const shares = measured.map(({ transfer, compute, both }) => {
          return (transfer + compute - both) / Math.min(transfer, compute);
        });
        report(pass, measured);
        return quantityResult(target, shares);
      } finally {
        await owners.close();
      }
    } finally {
      await cluster.stop();
    }
  } finally {
    link.close();
  }
}

async function measure(
  owners: Owners,
  link: LimitedLink,
  shape: StepShape,
  pass: 'forward' | 'backward',
  bytes: number,
  windows: number,
): Promise<Times[]> {
  const shards = owners.shards(shape);
  const timed = async (limit: number | null, mask: 'causal' | 'diagonal') => {
    let cpuBefore = 0;
    const ms = await owners.pass(shards, pass, mask, () => {
      link.limit(limit);
      cpuBefore = LimitedLink.cpuSeconds();
    });
    const cpuSeconds = LimitedLink.cpuSeconds() - cpuBefore;
    link.limit(null);
    return { ms, cpuShare: cpuSeconds / (ms / 1000) };
  };
  const measured: Times[] = [];
  // The first window warms up and is dropped.
  for (let window = 0; window <= windows; window++) {
    const [whole, next] = [await timed(null, 'causal'), await timed(null, 'diagonal')];
    const compute = whole.ms - next.ms;
    // What makes transfer as long as that.
    const rate = Math.min(MOST_BYTES_PER_SECOND, bytes / (compute / 1000));
    const transfer = await timed(rate, 'diagonal');
    const both = await timed(rate, 'causal');
    const times = { transfer: transfer.ms, compute, both: both.ms, limiter: both.cpuShare, rate };
    if (window > 0) measured.push(times);
  }
  return measured;
}

/** Payload that all owners together send or get, whichever is more. */
function busierDirection({ rows, heads, headSize, dtype }: StepShape, ranks: number, owners: number) {
  const splits = splitSizes(rows, owners);
  const plan = createPlan(
    {
      ...{ dtype, layout: 'sbhd', batch: 1, qHeads: heads, kvHeads: heads, headSize, weights: null },
      ...{ qSplits: splits, kvSplits: splits, scale: 1, strategy: 'heads' },
      mask: { left: null, right: 0, segments: null, validRanges: null },
    },
    ranks,
  );
  const { forward, backward } = explainPlan(plan);
  const larger = ({ ownersToRanks, ranksToOwners }: typeof forward): number =>
    Math.max(ownersToRanks, ranksToOwners);
  return { forward: larger(forward), backward: larger(backward) };
}

function report(pass: string, times: readonly Times[]): void {
  const of = (pick: (times: Times) => number): number => median(times.map(pick));
  const ms = (pick: (times: Times) => number): string => `${of(pick).toFixed(0)} ms`;
  const rate = `${of(({ rate }) => rate / 1e6).toFixed(0)} MB/s`;
  const limiter = `${(100 * of(({ limiter }) => limiter)).toFixed(1)} % of a core`;
  console.log(
    `overlap, ${pass}: transfer ${ms(({ transfer }) => transfer)}, compute ${ms(({ compute }) => compute)}, both ${ms(({ both }) => both)} at ${rate}; network in the kernel with its limiter ${limiter}`,
  );
}
