import { createPlan, explainPlan, splitSizes } from '@ulysses/plan';
import type { BenchCluster } from './cluster.js';
import { MOST_BYTES_PER_SECOND, OWNERS, RANKS, SHAPE, withLimitedCluster } from './limited-cluster.js';
import { LimitedLink } from './limited-link.js';
import type { Owners } from './owners.js';
import { quantityResult, type Result } from './results.js';
import { STEP_TARGETS as TARGETS } from './targets.js';
import { median, repeated } from './windows.js';

/** A pass: its milliseconds, and CPU seconds of trainer, cluster and interrupts. */
interface Timed {
  readonly ms: number;
  readonly cpuSeconds: number;
}

/** What one window measured. */
interface Times {
  /** Milliseconds of the pass with next to nothing to compute, over the link with its limit. */
  readonly transfer: number;
  /** What the pass takes longer than that one on a link without a limit. */
  readonly compute: number;
  /** The pass over the link with its limit. */
  readonly both: number;
  /** Per cent of a core that the limit takes while rows pass: CPU time with it, less that of the same rows without it. */
  readonly limiter: number;
  /** Of the link, in each direction, in bytes per second. */
  readonly rate: number;
}

/**
 * How much of the smaller of transfer and compute is hidden behind the larger one, when owners and ranks are joined by a link whose
 * rate makes them about as long as each other; and what limiting the link takes of the cores on which all of it runs.
 */
export async function overlap(pass: 'forward' | 'backward', windows: number): Promise<Result[]> {
  const measured = await withLimitedCluster((owners, link, cluster) =>
    measure(owners, link, cluster, pass, windows),
  );
  report(pass, measured);
  const shares = measured.map(
    ({ transfer, compute, both }) => (transfer + compute - both) / Math.min(transfer, compute),
  );
  const name = pass === 'forward' ? 'overlap fwd' : 'overlap bwd';
  const limiters = measured.map(({ limiter }) => limiter);
  return [quantityResult(TARGETS[name], shares), quantityResult(TARGETS[`${name} limiter`], limiters)];
}

async function measure(
  owners: Owners,
  link: LimitedLink,
  cluster: BenchCluster,
  pass: 'forward' | 'backward',
  windows: number,
): Promise<Times[]> {
  const shards = owners.shards(SHAPE);
  const bytes = busierDirection()[pass];
  const cpuSecondsSoFar = (): number => {
    const { coordinator, ranks } = cluster.cpuSeconds();
    const { user, system } = process.cpuUsage();
    return coordinator + ranks + (user + system) / 1e6 + LimitedLink.interruptSeconds();
  };
  const timed = async (limit: number | null, mask: 'causal' | 'diagonal'): Promise<Timed> => {
    let before = 0;
    const ms = await owners.pass(shards, pass, mask, () => {
      link.limit(limit);
      before = cpuSecondsSoFar();
    });
    const cpuSeconds = cpuSecondsSoFar() - before;
    link.limit(null);
    return { ms, cpuSeconds };
  };
  return await repeated(windows, async () => {
    const [whole, next] = [await timed(null, 'causal'), await timed(null, 'diagonal')];
    const compute = whole.ms - next.ms;
    // What makes transfer as long as that.
    const rate = Math.min(MOST_BYTES_PER_SECOND, bytes / (compute / 1000));
    const transfer = await timed(rate, 'diagonal');
    const both = await timed(rate, 'causal');
    const limiter = (100 * (transfer.cpuSeconds - next.cpuSeconds)) / (transfer.ms / 1000);
    return { transfer: transfer.ms, compute, both: both.ms, limiter, rate };
  });
}

/** Payload that all owners together send or get, whichever is more. */
function busierDirection() {
  const { rows, heads, headSize, dtype } = SHAPE;
  const splits = splitSizes(rows, OWNERS);
  const plan = createPlan(
    {
      ...{ dtype, layout: 'sbhd', batch: 1, qHeads: heads, kvHeads: heads, headSize, weights: null },
      ...{ qSplits: splits, kvSplits: splits, scale: 1, strategy: 'heads' },
      mask: { left: null, right: 0, segments: null, validRanges: null },
    },
    RANKS,
  );
  const { forward, backward } = explainPlan(plan);
  const larger = ({ ownersToRanks, ranksToOwners }: typeof forward): number =>
    Math.max(ownersToRanks, ranksToOwners);
  return { forward: larger(forward), backward: larger(backward) };
}

function report(pass: string, times: readonly Times[]): void {
  const of = (pick: (times: Times) => number): string => median(times.map(pick)).toFixed(0);
  console.log(
    `overlap, ${pass}: transfer ${of(({ transfer }) => transfer)} ms, compute ${of(({ compute }) => compute)} ms, ` +
      `both ${of(({ both }) => both)} ms at ${of(({ rate }) => rate / 1e6)} MB/s`,
  );
}
