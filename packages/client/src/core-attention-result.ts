import { fieldError, UlyssesError } from '@ulysses/errors';
import { unsupported, type ExchangePlan } from '@ulysses/plan';
import { deadlineSignal, orAborted } from '@ulysses/runtime';
import { decodeElements } from '@ulysses/tensor';
import type { AttentionGradients, BackwardOptions } from './attention-result.js';
import type { CoreAttentionOutput, CoreGradients } from './core-attention.js';
import {
  gatherGradient,
  returnSequence,
  sideBySide,
  tellFailure,
  type CoreStep,
  type CoreTensor,
  type Exchanged,
} from './core-exchanges.js';
import type { ReplayOptions } from './replay.js';
import { checkTensorView, requireSameShape, type TensorView } from './tensor-view.js';

/** What the exchanges around a core attention did. */
export interface CoreAttentionReport {
  /** Rows of the whole sequence that were exchanged. */
  readonly gatherSize: number;
  readonly cpSize: number;
  readonly epoch: number;
  /** Query heads that each owner computed. */
  readonly headsPerRank: readonly number[];
  /** Payload bytes that this owner sent and got back. */
  readonly bytesExchanged: number;
}

/** A forward's exchanged tensors, as far as backward needs them. */
export interface CoreForward {
  readonly step: CoreStep;
  readonly qPlan: ExchangePlan;
  readonly kvPlan: ExchangePlan;
  /** Shapes only, like `gathered`: the caller's arrays are not kept alive. */
  readonly shards: { readonly q: TensorView; readonly k: TensorView; readonly v: TensorView };
  /** On whole sequences. */
  readonly gathered: { readonly q: TensorView; readonly k: TensorView };
  /** null at an owner that has no head. */
  readonly core: CoreAttentionOutput | null;
  readonly out: Exchanged;
  readonly report: CoreAttentionReport;
}

/** What a forward with a core attention of the caller's own gave: `out` shaped like q, and the core's backward until `release`. */
export class CoreAttentionResult {
  readonly out: TensorView;
  readonly report: CoreAttentionReport;
  #forward: CoreForward | null;
  readonly #nextAttempt: Record<CoreTensor, number> = { q: 0, k: 0, v: 0, out: 0 };

  constructor(forward: CoreForward) {
    this.out = forward.out.tensor;
    this.report = forward.report;
    this.#forward = forward.step.view.keep === 'none' ? null : forward;
  }

  /**
   * Gradients of q, k and v for `dout`, which is shaped like `out`: the core's backward between two exchanges.
   *
   * @throws HANDLE_GONE after `release`, after a backward without `retain`, or when the forward kept nothing.
   */
  async backward(
    dout: TensorView,
    options: BackwardOptions = {},
  ): Promise<Omit<AttentionGradients, 'report'>> {
    const forward = this.#forward;
    if (forward === null) {
      throw new UlyssesError('HANDLE_GONE', 'the forward was released, or kept nothing', {
        field: 'forward',
      });
    }
    if (options.createGraph === true) throw unsupported('createGraph', true);
    checkTensorView(dout, 'dout');
    requireSameShape(dout, this.out, 'dout', 'out');
    const { cluster } = forward.step;
    const budget = replayBudget({
      signal: options.signal ?? null,
      deadlineMs: options.deadlineMs ?? cluster.options.deadlineMs,
    });
    const gathered = await gatherGradient(forward.step, forward.qPlan, dout, this.#key('out'), budget());
    this.#committed('out', gathered);
    const gradients = await coreBackward(forward, gathered.tensor, budget()).catch(
      async (thrown: unknown) => {
        await tellFailure(forward.step, this.#key('q'), thrown, budget());
        throw thrown;
      },
    );
    const [dq, dk, dv] = await this.#returnGradients(forward, gradients, budget());
    if (options.retain !== true) this.#forward = null;
    return { dq: dq.tensor, dk: dk.tensor, dv: dv.tensor };
  }

  /** Lets go of the core's backward; `out` stays valid. Nothing is kept on ranks. */
  release(): Promise<void> {
    this.#forward = null;
    return Promise.resolve();
  }

  async #returnGradients(
    { step, qPlan, kvPlan, shards }: CoreForward,
    { dq, dk, dv }: CoreGradients,
    replay: ReplayOptions,
  ): Promise<readonly [Exchanged, Exchanged, Exchanged]> {
    const fold = (name: 'k' | 'v', tensor: TensorView) => (each: ReplayOptions) => {
      const returned = { tensor, like: shards[name], key: this.#key(name), foldTo: shards[name].dtype };
      return returnSequence(step, `d${name}`, kvPlan, returned, each);
    };
    const results = await sideBySide(replay, [
      (each) => {
        const returned = { tensor: dq, like: shards.q, key: this.#key('q'), foldTo: null };
        return returnSequence(step, 'dq', qPlan, returned, each);
      },
      fold('k', dk),
      fold('v', dv),
    ]);
    (['q', 'k', 'v'] as const).forEach((name, i) => {
      this.#committed(name, results[i]!);
    });
    return results;
  }

  #key(name: CoreTensor): CoreStep['keys'][CoreTensor] {
    const { step } = this.#forward ?? {};
    if (step === undefined) throw new UlyssesError('HANDLE_GONE', 'the forward was released');
    return { ...step.keys[name], pass: 'backward', attempt: this.#nextAttempt[name] };
  }

  #committed(name: CoreTensor, { outcome }: Exchanged): void {
    this.#nextAttempt[name] = outcome.key.attempt + 1;
  }
}

/** One deadline for several waits: each call says what is left of it. */
export function replayBudget({ deadlineMs, signal }: ReplayOptions): () => ReplayOptions {
  const startedAt = performance.now();
  return () => ({
    signal,
    deadlineMs: Math.max(1, Math.ceil(deadlineMs - (performance.now() - startedAt))),
  });
}

/** Waits for a trainer's own work, but not longer than the call may take. */
export async function withinDeadline<T>(
  { deadlineMs, signal }: ReplayOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = deadlineSignal(deadlineMs, signal ?? undefined);
  try {
    return await orAborted(work(limit.signal), limit.signal);
  } catch (thrown) {
    if (signal?.aborted !== true) throw thrown;
    throw new UlyssesError('CANCELLED', 'the call was cancelled', {}, signal.reason);
  } finally {
    limit.release();
  }
}

async function coreBackward(
  { core, gathered }: CoreForward,
  dout: TensorView,
  replay: ReplayOptions,
): Promise<CoreGradients> {
  if (core === null) {
    const none: TensorView = { ...gathered.k, dtype: 'f32' };
    return { dq: dout, dk: none, dv: none };
  }
  const { dq, dk, dv } = await withinDeadline(replay, (signal) => core.backward(dout, { signal }));
  checkTensorView(dq, 'dq');
  requireSameShape(dq, gathered.q, 'dq', "the core attention's q");
  return { dq, dk: float32(dk, 'dk', gathered.k), dv: float32(dv, 'dv', gathered.k) };
}

/** What travels of dk and dv, and is summed. */
function float32(tensor: TensorView, field: string, like: TensorView): TensorView {
  checkTensorView(tensor, field);
  if (tensor.dtype !== 'f32' && tensor.dtype !== like.dtype) {
    throw fieldError('SHAPE_MISMATCH', `${field}.dtype`, tensor.dtype, `f32, or ${like.dtype} like k`);
  }
  requireSameShape({ ...tensor, dtype: like.dtype }, like, field, "the core attention's k");
  return { ...tensor, dtype: 'f32', data: decodeElements(tensor.data, tensor.dtype) };
}
