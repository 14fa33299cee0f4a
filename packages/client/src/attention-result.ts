import { UlyssesError } from '@ulysses/errors';
import type { StepKey } from '@ulysses/native';
import { unsupported } from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import type { Cluster } from './cluster.js';
import {
  backwardAttempt,
  forwardPass,
  type ForwardInputs,
  type ForwardOutcome,
  type Gradients,
} from './passes.js';
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
  /** Keeps the handle for another backward. @default false: it is released when this one commits */
  readonly retain?: boolean;
  /** Gradients of gradients; true is refused. @default false */
  readonly createGraph?: boolean;
  readonly signal?: AbortSignal;
  readonly deadlineMs?: number;
}

export interface AttentionGradients {
  readonly dq: TensorView;
  readonly dk: TensorView;
  readonly dv: TensorView;
  readonly report: StepReport;
}

interface ForwardState {
  readonly view: StepView;
  readonly inputs: ForwardInputs;
  readonly qShape: TensorView;
  readonly kvShape: TensorView;
  readonly outcome: ForwardOutcome;
}

/**
 * What forward gave: `out` shaped like q, `lse` as [b, h, s_local] float32, and the handle that backward needs. The handle
 * holds memory here (the inputs, for replays) and on the ranks until `backward` or `release`.
 */
export class AttentionResult {
  readonly out: TensorView;
  readonly lse: Float32Array;
  readonly report: StepReport;
  readonly #cluster: Cluster;
  readonly #state: ForwardState;
  #forwardKey: StepKey;
  #nextBackwardAttempt = 0;
  #released = false;

  constructor(cluster: Cluster, state: ForwardState) {
    const { outcome, qShape } = state;
    this.#cluster = cluster;
    this.#state = state;
    this.#forwardKey = outcome.key;
    this.out = viewOfRegion(outcome.out, qShape);
    const { buffer, byteOffset, byteLength } = outcome.lse.bytes;
    this.lse = new Float32Array(buffer, byteOffset, byteLength / 4);
    this.report = stepReport(outcome);
    // No backward can follow, so nothing will be replayed from them.
    if (state.view.keep === 'none') freeAll(state.inputs);
  }

  /**
   * Gradients of q, k and v for `dout`, which is shaped like `out`. When a rank lost what it kept, forward is repeated
   * from the inputs first; the bits are the same.
   *
   * @throws HANDLE_GONE after `release`, or when the forward kept nothing.
   */
  async backward(dout: TensorView, options: BackwardOptions = {}): Promise<AttentionGradients> {
    if (options.createGraph === true) throw unsupported('createGraph', true);
    this.#requireHandle();
    const { view, qShape, kvShape } = this.#state;
    checkTensorView(dout, 'dout');
    requireSameShape(dout, qShape, 'dout', 'out');
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
          if (handleGone) await this.#repeatForward(deadlineMs, signal);
          handleGone = false;
          try {
            return await backwardAttempt(this.#cluster, {
              step: { ...this.#forwardKey, pass: 'backward', attempt },
              view,
              forward: this.#forwardKey,
              dout: doutRegion,
              qShape,
              kvShape,
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
      if (!retain) this.#freeLocal();
      return this.#gradientViews(outcome.gradients, stepReport(outcome));
    } finally {
      doutRegion.free();
    }
  }

  /** Frees the handle here and on the ranks; `out` and `lse` stay valid. Harmless when repeated. */
  async release(): Promise<void> {
    if (this.#released) return;
    this.#freeLocal();
    if (this.#state.view.keep === 'store')
      await this.#cluster.coordinator.release({ step: this.#forwardKey });
  }

  async #repeatForward(deadlineMs: number, signal: AbortSignal): Promise<void> {
    const { view, inputs, qShape } = this.#state;
    const next = { ...this.#forwardKey, attempt: this.#forwardKey.attempt + 1 };
    const repeated = await forwardPass(this.#cluster, next, view, inputs, qShape, { deadlineMs, signal });
    this.#forwardKey = repeated.key;
    repeated.out.free();
    repeated.lse.free();
  }

  #requireHandle(): void {
    if (this.#released || this.#state.view.keep === 'none') {
      const why = this.#released ? 'it was released' : "the forward ran with keep 'none'";
      throw new UlyssesError('HANDLE_GONE', `the forward is not stored: ${why}`, { field: 'forward' });
    }
  }

  #freeLocal(): void {
    this.#released = true;
    freeAll(this.#state.inputs);
  }

  #gradientViews({ dq, dk, dv }: Gradients, report: StepReport): AttentionGradients {
    const { qShape, kvShape } = this.#state;
    return {
      dq: viewOfRegion(dq, qShape),
      dk: viewOfRegion(dk, kvShape),
      dv: viewOfRegion(dv, kvShape),
      report,
    };
  }
}

function freeAll(inputs: ForwardInputs): void {
  for (const region of Object.values(inputs) as ForwardInputs['q'][]) region.free();
}
