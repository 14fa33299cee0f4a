import { UlyssesError } from '@ulysses/errors';
import type { Region } from '@ulysses/native';
import { unsupported } from '@ulysses/plan';
import type { Cluster } from './cluster.js';
import { droppedResults, ForwardHandle } from './forward-handle.js';
import { backwardAttempt, type ForwardInputs, type ForwardOutcome, type Gradients } from './passes.js';
import { withReplay } from './replay.js';
import { stepReport, type StepReport } from './step-report.js';
import {
  checkTensorView,
  copyToRegion,
  requireSameShape,
  viewOfRegion,
  type TensorView,
} from './tensor-view.js';

export interface BackwardOptions {
  /** Keeps the handle for another backward; all owners have to say the same. @default false: it is released when this one commits */
  readonly retain?: boolean;
  /** Gradients of gradients; true is refused. @default false */
  readonly createGraph?: boolean;
  readonly signal?: AbortSignal;
  readonly deadlineMs?: number;
}

export interface ReleaseOptions {
  readonly signal?: AbortSignal;
  /** @default that of the connection */
  readonly deadlineMs?: number;
}

export interface AttentionGradients {
  readonly dq: TensorView;
  readonly dk: TensorView;
  readonly dv: TensorView;
  readonly report: StepReport;
}

interface ForwardState {
  readonly inputs: ForwardInputs;
  readonly qShape: TensorView;
  readonly kvShape: TensorView;
  readonly outcome: ForwardOutcome;
}

/**
 * What forward gave: `out` shaped like q, `lse` as [b, h, s_local] float32, and the handle that backward needs. The handle
 * holds memory here (the inputs, for replays) and on the ranks until `backward`, `release`, or the garbage collector finds that
 * nobody can reach this result any more.
 */
export class AttentionResult {
  readonly out: TensorView;
  readonly lse: Float32Array;
  readonly report: StepReport;
  readonly #cluster: Cluster;
  readonly #handle: ForwardHandle;
  readonly #results: readonly Region[];
  readonly #qShape: TensorView;
  readonly #kvShape: TensorView;
  #nextBackwardAttempt = 0;

  constructor(cluster: Cluster, state: ForwardState) {
    const { outcome, qShape, kvShape, inputs } = state;
    this.#cluster = cluster;
    this.#handle = new ForwardHandle({ cluster, key: outcome.key, view: outcome.view, inputs });
    this.#results = [outcome.out, outcome.lse];
    this.#qShape = qShape;
    this.#kvShape = kvShape;
    droppedResults.register(this, this.#handle);
    this.out = viewOfRegion(outcome.out, qShape);
    const { buffer, byteOffset, byteLength } = outcome.lse.bytes;
    this.lse = new Float32Array(buffer, byteOffset, byteLength / 4);
    this.report = stepReport(outcome);
  }

  /**
   * Gradients of q, k and v for `dout`, which is shaped like `out`. When a rank lost what it kept, forward is repeated
   * from the inputs first; the bits are the same.
   *
   * @throws HANDLE_GONE after `release`, or when the forward kept nothing.
   */
  async backward(dout: TensorView, options: BackwardOptions = {}): Promise<AttentionGradients> {
    if (options.createGraph === true) throw unsupported('createGraph', true);
    this.#handle.requireLive();
    checkTensorView(dout, 'dout');
    requireSameShape(dout, this.#qShape, 'dout', 'out');
    const retain = options.retain ?? false;
    const doutRegion = copyToRegion(dout);
    const replay = {
      signal: options.signal ?? null,
      deadlineMs: options.deadlineMs ?? this.#cluster.options.deadlineMs,
    };
    let handleGone = false;
    try {
      const outcome = await withReplay(
        this.#cluster,
        replay,
        this.#nextBackwardAttempt,
        async ({ attempt, deadlineMs, signal }) => {
          if (handleGone) await this.#handle.repeat(this.#qShape, deadlineMs, signal);
          handleGone = false;
          try {
            return await backwardAttempt(this.#cluster, {
              step: { ...this.#handle.key, pass: 'backward', attempt },
              view: this.#handle.view,
              forward: this.#handle.key,
              inputs: this.#handle.inputs,
              dout: doutRegion,
              qShape: this.#qShape,
              kvShape: this.#kvShape,
              releaseForward: !retain,
              deadlineMs,
              signal,
            });
          } catch (error) {
            handleGone = error instanceof UlyssesError && error.code === 'HANDLE_GONE';
            throw error;
          }
        },
      );
      this.#nextBackwardAttempt = outcome.key.attempt + 1;
      if (!retain) this.#handle.free();
      return this.#gradientViews(outcome.gradients, stepReport(outcome));
    } finally {
      doutRegion.free();
    }
  }

  /**
   * Frees the handle, here at once and on the ranks; `out` and `lse` stay valid. Harmless when repeated. Ranks that did not hear
   * of it free theirs when its time to live ends.
   *
   * @throws DEADLINE, CANCELLED or PEER_LOST when the coordinator did not say that it told the ranks
   */
  async release(options: ReleaseOptions = {}): Promise<void> {
    await this.#handle.release(options);
  }

  /**
   * Frees `out` and `lse` at once: both are empty from then on. Otherwise the garbage collector does, once they are out of reach; it
   * counts them as its own memory, and in a trainer of many small steps collects everything again for every few of them.
   */
  freeResults(): void {
    for (const region of this.#results) region.freeWithViews();
  }

  #gradientViews({ dq, dk, dv }: Gradients, report: StepReport): AttentionGradients {
    return {
      dq: viewOfRegion(dq, this.#qShape),
      dk: viewOfRegion(dk, this.#kvShape),
      dv: viewOfRegion(dv, this.#kvShape),
      report,
    };
  }
}
