import { fieldError } from '@ulysses/errors';
import type { Region, StepKey } from '@ulysses/native';
import { DynamicGatherSizeCalculator, type GatherSizeCalculator } from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import type { AttentionOptions, CallOptions } from './attention-options.js';
import { AttentionResult } from './attention-result.js';
import { checkAttentionOptions } from './check-options.js';
import type { Cluster } from './cluster.js';
import type { CoreAttentionResult } from './core-attention-result.js';
import type { CoreAttention } from './core-attention.js';
import { coreForward, coreKeys } from './core-forward.js';
import { forwardPass } from './passes.js';
import type { ReplayOptions } from './replay.js';
import { buildStepView } from './step-view.js';
import { checkTensorView, copyToRegion, requireSameShape, type TensorView } from './tensor-view.js';

/** What forward gives: LSE, and a handle on ranks, only where ranks computed. */
export type ForwardResult<Core extends CoreAttention | null> = Core extends null
  ? AttentionResult
  : CoreAttentionResult;

/**
 * Attention over a sequence that is cut over several owners, computed by a cluster.
 *
 * `coreAttention` null means that the ranks' devices compute. A function computes at the owners, one per rank, between an
 * exchange and its reverse: each gets whole sequences of some heads. q is [s_local, b, h, d], k and v are [s_local, b, h_kv, d]
 * (or [b, s, h, d], [t, h, d]); any lengths, any number of heads with h % h_kv == 0, d in 1..256.
 */
export class UlyssesContextAttention<Core extends CoreAttention | null = null> {
  readonly #coreAttention: Core;
  readonly #cluster: Cluster;
  readonly #options: AttentionOptions & { readonly gatherSizeCalculator: GatherSizeCalculator | null };

  /** @throws UNSUPPORTED for dropout, a bias, and options that there are not. */
  constructor(coreAttention: Core, cpGroup: Cluster, options: AttentionOptions = {}) {
    checkAttentionOptions(options);
    this.#coreAttention = coreAttention;
    this.#cluster = cpGroup;
    this.#options = {
      ...options,
      gatherSizeCalculator:
        options.gatherSizeCalculator === undefined
          ? new DynamicGatherSizeCalculator()
          : options.gatherSizeCalculator,
    };
  }

  /**
   * One forward. Resolves when every owner has its rows; the result holds `backward`.
   *
   * @throws SHAPE_MISMATCH, UNSUPPORTED, STEP_MISMATCH for calls that cannot work; PEER_LOST and the like when replays are used
   * up; DEADLINE; CANCELLED.
   */
  async forward(
    q: TensorView,
    k: TensorView,
    v: TensorView,
    call: CallOptions = {},
  ): Promise<ForwardResult<Core>> {
    // Numbered before anything can wait or be refused: calls of one owner are numbered as they are made, on every owner.
    const core = this.#coreAttention;
    const step = this.#cluster.nextStep();
    const keys = core === null ? null : coreKeys(this.#cluster, step);
    checkTensorView(q, 'q');
    checkTensorView(k, 'k');
    checkTensorView(v, 'v');
    requireSameShape(v, k, 'v', 'k');
    requireCompatible(q, k);
    const view: StepView = await buildStepView(this.#options, q, k, call);
    const replay = {
      signal: call.signal ?? null,
      deadlineMs: call.deadlineMs ?? this.#cluster.options.deadlineMs,
    };
    const result: AttentionResult | CoreAttentionResult =
      core === null || keys === null
        ? await this.#onRanks(step, view, q, k, v, replay)
        : await coreForward({ cluster: this.#cluster, core, keys, view }, { q, k, v }, replay);
    return result as ForwardResult<Core>;
  }

  async #onRanks(
    step: StepKey,
    view: StepView,
    q: TensorView,
    k: TensorView,
    v: TensorView,
    replay: ReplayOptions,
  ): Promise<AttentionResult> {
    const inputs = { q: copyToRegion(q), k: copyToRegion(k), v: copyToRegion(v) };
    try {
      const outcome = await forwardPass(this.#cluster, step, view, inputs, q, replay);
      return new AttentionResult(this.#cluster, { inputs, qShape: q, kvShape: k, outcome });
    } catch (error) {
      freeAll(inputs);
      throw error;
    }
  }
}

function requireCompatible(q: TensorView, k: TensorView): void {
  if (k.dtype !== q.dtype) throw fieldError('SHAPE_MISMATCH', 'k.dtype', k.dtype, `${q.dtype}, like q`);
  for (const name of ['layout', 'batch', 'headSize'] as const) {
    if (k.extents[name] !== q.extents[name]) {
      const expected = `${q.extents[name]}, like q`;
      throw fieldError('SHAPE_MISMATCH', `k.extents.${name}`, k.extents[name], expected);
    }
  }
}

function freeAll(regions: Record<string, Region>): void {
  for (const region of Object.values(regions)) region.free();
}
