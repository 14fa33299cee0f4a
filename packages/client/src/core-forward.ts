import { fieldError } from '@ulysses/errors';
import type { StepKey } from '@ulysses/native';
import { maskOfAll, unsupported } from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import type { Cluster } from './cluster.js';
import { CoreAttentionResult, replayBudget, withinDeadline } from './core-attention-result.js';
import type { CoreAttention, CoreAttentionOutput } from './core-attention.js';
import { gatherSequence, returnSequence, sideBySide, tellFailure, type CoreStep } from './core-exchanges.js';
import { coreGatherSizes } from './core-gather-sizes.js';
import { kvHeadOfQHead, routeHeads } from './head-routing.js';
import type { ReplayOptions } from './replay.js';
import { checkTensorView, requireSameShape, shapeOf, type TensorView } from './tensor-view.js';

/** One call, and the steps that it takes. */
export interface CoreCall {
  readonly cluster: Cluster;
  readonly core: CoreAttention;
  readonly keys: CoreStep['keys'];
  readonly view: StepView;
}

/** Numbers all exchanges of one call at once: owners may finish their core attentions in any order. */
export function coreKeys(cluster: Cluster, first: StepKey): CoreStep['keys'] {
  return { q: first, k: cluster.nextStep(), v: cluster.nextStep(), out: cluster.nextStep() };
}

interface Shards {
  readonly q: TensorView;
  readonly k: TensorView;
  readonly v: TensorView;
}

/** Exchange, the caller's own attention over whole sequences, exchange back. */
export async function coreForward(
  { cluster, core, keys, view }: CoreCall,
  shards: Shards,
  replay: ReplayOptions,
): Promise<CoreAttentionResult> {
  const step = coreStep(cluster, view, keys);
  const budget = replayBudget(replay);
  const [q, k, v] = await sideBySide(budget(), [
    (each) => gatherSequence(step, 'q', shards.q, each),
    (each) => gatherSequence(step, 'k', shards.k, each),
    (each) => gatherSequence(step, 'v', shards.v, each),
  ]);
  const gathered = { q: q.tensor, k: k.tensor, v: v.tensor };
  const output = await runCore(step, core, gathered, budget()).catch(async (thrown: unknown) => {
    await tellFailure(step, step.keys.out, thrown, budget());
    throw thrown;
  });
  const out = await returnSequence(
    step,
    'out',
    q.plan,
    { tensor: output?.out ?? gathered.q, like: shards.q, key: step.keys.out, foldTo: null },
    budget(),
  );
  const { spec } = q.plan;
  return new CoreAttentionResult({
    step,
    qPlan: q.plan,
    kvPlan: k.plan,
    shards: { q: shapeOf(shards.q), k: shapeOf(shards.k), v: shapeOf(shards.v) },
    gathered: { q: shapeOf(gathered.q), k: shapeOf(gathered.k) },
    core: output,
    out,
    report: {
      gatherSize: spec.shape[spec.gatherDim]!,
      cpSize: cluster.options.ownerCount,
      epoch: out.outcome.planned.epoch,
      headsPerRank: spec.scatterRanges.map(({ begin, end }) => end - begin),
      bytesExchanged: [q, k, v, out].reduce(
        (sum, { outcome }) => sum + outcome.bytesSent + outcome.bytesReceived,
        0,
      ),
    },
  });
}

function coreStep(cluster: Cluster, view: StepView, keys: CoreStep['keys']): CoreStep {
  const { qHeads, kvHeads, strategy } = view;
  const { ownerCount } = cluster.options;
  if (strategy === 'balanced') {
    const expected = 'heads, or absent, with a core attention of your own: it gets whole heads';
    throw fieldError('UNSUPPORTED', 'strategy', strategy, expected);
  }
  if (view.kvCachePolicy !== null && view.kvCachePolicy !== 'none') {
    const expected = 'none, or absent, with a core attention of your own: ranks keep nothing';
    throw fieldError('UNSUPPORTED', 'kvCachePolicy', view.kvCachePolicy, expected);
  }
  if (view.keep === 'recompute') {
    const expected = 'store or none with a core attention of your own, which keeps what its backward needs';
    throw fieldError('UNSUPPORTED', 'keep', view.keep, expected);
  }
  if (kvHeads === 0 || qHeads % kvHeads !== 0) throw unsupported('kvHeads', kvHeads);
  const gatherSizes = coreGatherSizes(view);
  if (gatherSizes.aligned && qHeads % ownerCount !== 0) {
    const remedy = 'in an aligned exchange; use DynamicGatherSizeCalculator for an unaligned one';
    throw fieldError('SHAPE_MISMATCH', 'qHeads', qHeads, `a multiple of cp_size ${ownerCount} ${remedy}`);
  }
  const routing = routeHeads(qHeads, kvHeads, ownerCount);
  return { cluster, view, gatherSizes, routing, keys };
}

/** null when this owner has no head: then there is nothing to attend. */
async function runCore(
  { cluster, view, routing }: CoreStep,
  core: CoreAttention,
  { q, k, v }: Shards,
  replay: ReplayOptions,
): Promise<CoreAttentionOutput | null> {
  const { ownerIndex } = cluster.options;
  const [qHeads, kvHeads] = [routing.qHeads[ownerIndex]!, routing.kvHeads[ownerIndex]!];
  if (qHeads.begin === qHeads.end) return null;
  const output = await withinDeadline(replay, (signal) =>
    core(q, k, v, {
      qHeads,
      kvHeads,
      kvHeadOfQHead: kvHeadOfQHead(qHeads, kvHeads, view.qHeads / view.kvHeads),
      mask: maskOfAll(view.mask, q.extents.rows, q.extents.rows === k.extents.rows),
      scale: view.scale,
      attentionMaskLengths: view.attentionMaskLengths,
      signal,
    }),
  );
  checkTensorView(output.out, 'out');
  requireSameShape(output.out, q, 'out', "the core attention's q");
  return output;
}
