import { alignedSizes } from './aligned.js';
import { carriedTensors, keptBytes, type Keep, type KvCachePolicy } from './kv-cache.js';
import { lineOf } from './line.js';
import { rankTables } from './rank-table.js';
import { pairsBeforeRow, sampleMasks, samplePairs, visibleRuns, type SampleMask } from './sample-mask.js';
import type { Plan, RankTable, Strategy } from './spec.js';
import { sumOf } from './split-sizes.js';
import { rowBytes, stepBytes, type StepBytes } from './step-bytes.js';

/** What one rank computes and holds. */
export interface RankCost {
  readonly rank: number;
  readonly units: number;
  /** Query rows over all heads and samples. */
  readonly rows: number;
  /** The same in heads of the whole sequence and batch: 3.5 is three heads and half of another. */
  readonly heads: number;
  /** KV rows over all KV heads and samples that the rank receives. */
  readonly kvRows: number;
  /** Visible (row, key) pairs. */
  readonly work: number;
  /** Work over the rank's fair share (the mean, or its part by weight); 0 when its share is 0. */
  readonly workOverShare: number;
  /** q, k, v, out, lse. */
  readonly forwardBytes: number;
  /** What backward adds: dout, dq, and dk, dv in float32. */
  readonly backwardBytes: number;
  /** What stays between forward and backward when it is kept, with every KV-cache policy. */
  readonly storeBytes: Readonly<Record<KvCachePolicy, number>>;
}

/** What the KV-cache policies are about: K or V (each; they are equal), before the exchange and after. */
export interface KvCacheCost {
  /** Over all owners: the shards, which half (K) and full (K and V) rely on. */
  readonly shardBytes: number;
  /** Over all ranks: the gathered rows, which half and full free, and which backward then exchanges again. */
  readonly gatheredBytes: number;
  /** What half saves over owners and ranks together, full twice as much; 0 when K and V are not replicated. */
  readonly savedBytes: number;
}

/** How results are kept for backward; decides what backward exchanges. */
export interface Retention {
  readonly keep: Keep;
  readonly policy: KvCachePolicy;
}

/** Everything `ulysses plan` shows; plain data. */
export interface PlanReport {
  readonly planId: string;
  readonly cpSize: number;
  readonly owners: number;
  readonly strategy: Strategy;
  /** s_q and s_kv, the gather sizes. */
  readonly qRows: number;
  readonly kvRows: number;
  readonly ranks: readonly RankCost[];
  /** The largest `workOverShare`. */
  readonly balance: number;
  /** KV rows sent to ranks, the fewest that would do (each visible row once), and their ratio. */
  readonly kvDuplication: { readonly rowsSent: number; readonly rowsNeeded: number; readonly factor: number };
  readonly kvCache: KvCacheCost;
  /** What `backward` is for. */
  readonly retention: Retention;
  readonly forward: StepBytes;
  readonly backward: StepBytes;
  /** Multiplications and additions of the matrix products: two in forward, five in backward. */
  readonly flops: { readonly forward: number; readonly backward: number };
  /** The values of cp_size above 1 at which these extents would be aligned. */
  readonly alignedSizes: readonly number[];
}

/** What a plan costs and why. */
export function explainPlan(
  plan: Plan,
  retention: Retention = { keep: 'store', policy: 'none' },
): PlanReport {
  const { spec, cpSize } = plan;
  const masks = sampleMasks(spec);
  const work = spec.qHeads * sumOf(masks.map(samplePairs));
  const weights = spec.weights ?? new Array<number>(cpSize).fill(1);
  const weight = sumOf(weights);
  const ranks = rankTables(plan).map((table) =>
    rankCost(plan, masks, table, (work * weights[table.rank]!) / weight),
  );
  const rowsSent = sumOf(ranks.map(({ kvRows }) => kvRows));
  const shardBytes = spec.batch * spec.kvHeads * sumOf(spec.kvSplits) * rowBytes(spec).element;
  const gatheredBytes = rowsSent * rowBytes(spec).element;
  const savedBytes = Math.max(0, gatheredBytes - shardBytes);
  const rowsNeeded = spec.kvHeads * sumOf(masks.map((mask) => visibleKeys(mask, sumOf(spec.qSplits))));
  return {
    planId: plan.planId,
    cpSize,
    owners: spec.qSplits.length,
    strategy: spec.strategy,
    qRows: sumOf(spec.qSplits),
    kvRows: sumOf(spec.kvSplits),
    ranks,
    balance: ranks.reduce((largest, { workOverShare }) => Math.max(largest, workOverShare), 0),
    kvDuplication: { rowsSent, rowsNeeded, factor: rowsNeeded === 0 ? 1 : rowsSent / rowsNeeded },
    kvCache: { shardBytes, gatheredBytes, savedBytes },
    retention,
    forward: stepBytes(plan, 'forward'),
    backward: stepBytes(plan, 'backward', carriedTensors(retention.keep, retention.policy)),
    flops: { forward: 4 * spec.headSize * work, backward: 10 * spec.headSize * work },
    alignedSizes: alignedSizes(spec),
  };
}

function rankCost({ spec }: Plan, masks: readonly SampleMask[], table: RankTable, share: number): RankCost {
  const { rank, units, kvIntervals } = table;
  const rows = sumOf(units.map(({ qBegin, qEnd }) => qEnd - qBegin));
  const kvRows = sumOf(kvIntervals.map(({ begin, end }) => end - begin));
  const work = sumOf(
    units.map(({ batch, qBegin, qEnd }) => {
      const mask = masks[batch]!;
      return pairsBeforeRow(mask, qEnd) - pairsBeforeRow(mask, qBegin);
    }),
  );
  const bytes = rowBytes(spec);
  const forwardBytes = rows * (2 * bytes.element + bytes.lse) + 2 * kvRows * bytes.element;
  return {
    rank,
    units: units.length,
    rows,
    heads: rows / (spec.batch * lineOf(spec).laneRows),
    kvRows,
    work,
    workOverShare: share === 0 ? 0 : work / share,
    forwardBytes,
    backwardBytes: rows * 2 * bytes.element + 2 * kvRows * bytes.partial,
    storeBytes: {
      none: keptBytes(spec, table, 'none'),
      half: keptBytes(spec, table, 'half'),
      full: keptBytes(spec, table, 'full'),
    },
  };
}

/** Keys of one KV head that some row of the sample sees. */
function visibleKeys(mask: SampleMask, rows: number): number {
  return sumOf(visibleRuns(mask, 0, rows).map(({ keys }) => (keys === null ? 0 : keys.end - keys.begin)));
}
