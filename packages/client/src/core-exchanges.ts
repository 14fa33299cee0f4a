import type { StepKey } from '@ulysses/native';
import { inputShape, type ExchangePlan } from '@ulysses/plan';
import type { ExchangeView, StepView } from '@ulysses/rpc';
import { linkSignals } from '@ulysses/runtime';
import type { DType } from '@ulysses/tensor';
import type { Cluster } from './cluster.js';
import type { CoreGatherSizes } from './core-gather-sizes.js';
import { attentionDims, denseOf, viewOfDense } from './dense-tensor.js';
import { exchangePass, type ExchangeOutcome } from './exchange-pass.js';
import { reverseView } from './exchange.js';
import type { HeadRouting } from './head-routing.js';
import type { ReplayOptions } from './replay.js';
import type { TensorView } from './tensor-view.js';

/** The tensors that are exchanged around a core attention, each by a call of its own; gradients go the other way. */
export type CoreTensor = 'q' | 'k' | 'v' | 'out';

/** What all exchanges around one core attention share. */
export interface CoreStep {
  readonly cluster: Cluster;
  readonly view: StepView;
  readonly gatherSizes: CoreGatherSizes;
  readonly routing: HeadRouting;
  /** Numbered when forward begins. */
  readonly keys: Readonly<Record<CoreTensor, StepKey>>;
}

/** A tensor after an exchange, and the plan that it followed. */
export interface Exchanged {
  readonly tensor: TensorView;
  readonly plan: ExchangePlan;
  readonly outcome: ExchangeOutcome;
}

/** Some rows of every head -> every row of some heads, for q, k or v. */
export async function gatherSequence(
  step: CoreStep,
  name: 'q' | 'k' | 'v',
  tensor: TensorView,
  replay: ReplayOptions,
): Promise<Exchanged> {
  const { gatherSizes, routing } = step;
  const dense = denseOf(tensor);
  const dims = attentionDims(tensor.extents);
  const view: ExchangeView = {
    dtype: dense.dtype,
    shape: dense.shape,
    scatterDim: dims.heads,
    gatherDim: dims.sequence,
    gatherSize: name === 'q' ? gatherSizes.q : gatherSizes.kv,
    aligned: gatherSizes.aligned,
    scatterRanges: name === 'q' ? routing.qHeads : routing.kvHeads,
    gatherRanges: null,
    purpose: purposeOf(step, name),
    failure: null,
  };
  const call = { step: step.keys[name], view, tensor: dense, resultExtent: null, foldTo: null };
  const outcome = await exchangePass(step.cluster, call, replay);
  return { tensor: viewOfDense(outcome.result, tensor), plan: outcome.plan, outcome };
}

/** The same for dout, which goes the way that q went. */
export async function gatherGradient(
  step: CoreStep,
  plan: ExchangePlan,
  dout: TensorView,
  key: StepKey,
  replay: ReplayOptions,
): Promise<Exchanged> {
  const { spec } = plan;
  const view: ExchangeView = {
    dtype: dout.dtype,
    shape: inputShape(spec, step.cluster.options.ownerIndex),
    scatterDim: spec.scatterDim,
    gatherDim: spec.gatherDim,
    gatherSize: spec.shape[spec.gatherDim]!,
    aligned: false,
    scatterRanges: spec.scatterRanges,
    gatherRanges: spec.gatherRanges,
    purpose: purposeOf(step, 'dout'),
    failure: null,
  };
  const call = { step: key, view, tensor: denseOf(dout), resultExtent: null, foldTo: null };
  const outcome = await exchangePass(step.cluster, call, replay);
  return { tensor: viewOfDense(outcome.result, dout), plan: outcome.plan, outcome };
}

/**
 * Every row of some heads -> some rows of every head, against the plan that brought `like` here. With `foldTo`, float32 sums
 * of heads that several owners share are added in owner order and rounded once.
 */
export async function returnSequence(
  step: CoreStep,
  name: string,
  plan: ExchangePlan,
  { tensor, like, key, foldTo }: Returned,
  replay: ReplayOptions,
): Promise<Exchanged> {
  const view = reverseView(plan, step.cluster.options.ownerIndex, tensor.dtype, purposeOf(step, name));
  const call = { step: key, view, tensor: denseOf(tensor), resultExtent: like.extents.rows, foldTo };
  const outcome = await exchangePass(step.cluster, call, replay);
  return { tensor: viewOfDense(outcome.result, like), plan: outcome.plan, outcome };
}

export interface Returned {
  readonly tensor: TensorView;
  /** This owner's shard, whose shape the result has. */
  readonly like: TensorView;
  readonly key: StepKey;
  readonly foldTo: DType | null;
}

/**
 * Tells the other owners that the core attention failed here: this owner's view of their next exchange says so, which ends it.
 * Without it they would wait for this owner until their deadline.
 */
export async function tellFailure(
  { cluster }: CoreStep,
  key: StepKey,
  thrown: unknown,
  replay: ReplayOptions,
): Promise<void> {
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  const view: ExchangeView = {
    dtype: 'f32',
    shape: [0, 0],
    scatterDim: 1,
    gatherDim: 0,
    gatherSize: null,
    aligned: false,
    scatterRanges: null,
    gatherRanges: null,
    purpose: null,
    failure: `the core attention failed: ${reason.slice(0, 200)}`,
  };
  const tensor = { data: new Float32Array(0), dtype: view.dtype, shape: view.shape };
  const call = { step: key, view, tensor, resultExtent: null, foldTo: null };
  // Whatever comes of it, what this owner's caller wants to know is its own failure.
  await exchangePass(cluster, call, replay).catch(() => undefined);
}

/** Runs exchanges side by side; when one fails the others are cancelled, and their end is waited for. */
export async function sideBySide<const T extends readonly ((replay: ReplayOptions) => Promise<Exchanged>)[]>(
  replay: ReplayOptions,
  exchanges: T,
): Promise<{ [I in keyof T]: Exchanged }> {
  const ending = new AbortController();
  const linked = linkSignals([replay.signal ?? undefined, ending.signal]);
  const failures: unknown[] = [];
  try {
    const running = exchanges.map(async (run) => {
      try {
        return await run({ ...replay, signal: linked.signal });
      } catch (error) {
        failures.push(error);
        ending.abort(error);
        throw error;
      }
    });
    await Promise.allSettled(running);
    if (failures.length > 0) throw failures[0];
    return (await Promise.all(running)) as { [I in keyof T]: Exchanged };
  } finally {
    linked.release();
  }
}

/** Owners that mean different attentions, or different tensors of one, are refused by the comparison of their views. */
function purposeOf({ view }: CoreStep, tensor: string): string {
  const { qHeads, kvHeads, mask, scale, attentionMaskLengths } = view;
  return JSON.stringify({ tensor, qHeads, kvHeads, mask, scale, attentionMaskLengths });
}
