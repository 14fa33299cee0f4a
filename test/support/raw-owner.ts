import { randomUUID } from 'node:crypto';
import type { CoordinatorClient, PlanStep, StepView } from '@ulysses/rpc';

// A sequence owner that has the proto alone: what the client would refuse or settle by itself reaches the coordinator.

const DEADLINE_MS = 20_000;

export const RAW_VIEW: StepView = {
  dtype: 'f32',
  layout: 'sbhd',
  batch: 1,
  qHeads: 4,
  kvHeads: 2,
  headSize: 8,
  qRows: 10,
  kvRows: 10,
  mask: { left: null, right: 0, segments: null, validRanges: null },
  scale: 0.125,
  strategy: null,
  keep: 'none',
  attentionMaskLengths: null,
  attentionMaskExtent: null,
  gatherSizeQ: null,
  gatherSizeKv: null,
  clientCalculator: null,
  gatherSizeCalculator: 'dynamic',
  calculatorArguments: null,
  kvCachePolicy: null,
  kvCacheBudgetBytes: null,
  kvCachePolicyUnaligned: false,
};

export function rawKey(pass: 'forward' | 'backward', session = randomUUID()): PlanStep['step'] {
  return { job: 'errors', session, call: 0, pass, attempt: 0 };
}

/** One owner's part, of a step of one owner unless `change` says otherwise. */
export function rawPart(view: Partial<StepView> = {}, change: Partial<PlanStep> = {}): PlanStep {
  return {
    step: rawKey('forward'),
    ownerIndex: 0,
    ownerCount: 1,
    view: { ...RAW_VIEW, ...view },
    forward: null,
    releaseForward: false,
    direct: false,
    ...change,
  };
}

/** The owner's call to its end; `onPlanned` hears when rows could move. */
export async function rawOwner(
  client: CoordinatorClient,
  request: PlanStep,
  options: { deadlineMs?: number; signal?: AbortSignal; onPlanned?: () => void } = {},
): Promise<void> {
  const { onPlanned, ...limits } = { deadlineMs: DEADLINE_MS, ...options };
  for await (const update of client.planStep(request, limits)) if (update.kind === 'planned') onPlanned?.();
}
