import { createPlan, splitSizes, type Plan, type StepSpec } from '@ulysses/plan';

/** One causal sequence. */
export interface Workload {
  readonly rows: number;
  readonly qHeads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly dtype: 'f32' | 'bf16';
}

/**
 * padded: aligned, as Ulysses was published: rows and heads are padded until they divide, and a KV head is repeated where there
 * are fewer of them than ranks. heads and balanced: the strategies of this project, on the rows and heads that there are.
 */
export const WAYS = ['padded', 'heads', 'balanced'] as const;
export type Way = (typeof WAYS)[number];

export function planOf(workload: Workload, cpSize: number, way: Way, owners: number): Plan {
  const { rows, qHeads, kvHeads, headSize, dtype } = way === 'padded' ? padded(workload, cpSize) : workload;
  const splits = splitSizes(rows, owners);
  const spec: StepSpec = {
    dtype,
    layout: 'sbhd',
    batch: 1,
    qHeads,
    kvHeads,
    headSize,
    qSplits: splits,
    kvSplits: splits,
    mask: { left: null, right: 0, segments: null, validRanges: null },
    scale: Math.fround(1 / Math.sqrt(headSize)),
    strategy: way === 'padded' ? 'heads' : way,
    weights: null,
  };
  return createPlan(spec, cpSize);
}

/** What an aligned exchange has to be given. Heads of a group stay together: as many KV heads as divide both. */
export function padded(workload: Workload, cpSize: number): Workload {
  const up = (extent: number): number => Math.ceil(extent / cpSize) * cpSize;
  const qHeads = up(workload.qHeads);
  let kvHeads = up(workload.kvHeads);
  while (qHeads % kvHeads !== 0) kvHeads += cpSize;
  return { ...workload, rows: up(workload.rows), qHeads, kvHeads };
}
