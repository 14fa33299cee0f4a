import { UlyssesError } from '@ulysses/errors';
import {
  backwardReturns,
  backwardSends,
  foldGradients,
  forwardReturns,
  forwardSends,
} from '@ulysses/exchange';
import { Region, type StepKey } from '@ulysses/native';
import type { StepView } from '@ulysses/rpc';
import type { Cluster } from './cluster.js';
import { withReplay, type ReplayOptions } from './replay.js';
import { runStep, type StepOutcome } from './run-step.js';
import { allocateLike, type TensorView } from './tensor-view.js';

/** Inputs of a forward in native memory, kept until its handle is released so that any step can be replayed. */
export interface ForwardInputs {
  readonly q: Region;
  readonly k: Region;
  readonly v: Region;
}

export interface ForwardOutcome extends StepOutcome {
  /** As it was agreed in the end: `keep` may have become recompute. */
  readonly view: StepView;
  readonly out: Region;
  readonly lse: Region;
}

/**
 * Runs forward until it commits. Results of attempts that failed are dropped whole. When the store has no room and waiting
 * for it is hopeless, the next attempt recomputes instead; all owners hear the same refusal, so all do.
 */
export function forwardPass(
  cluster: Cluster,
  step: StepKey,
  asked: StepView,
  inputs: ForwardInputs,
  qShape: TensorView,
  options: ReplayOptions,
): Promise<ForwardOutcome> {
  let view = asked;
  return withReplay(cluster, options, step.attempt, async ({ attempt, deadlineMs, signal }) => {
    const out = allocateLike(qShape);
    const lse = Region.allocate(qShape.extents.batch * qShape.extents.heads * qShape.extents.rows * 4);
    try {
      const outcome = await runStep(cluster, {
        step: { ...step, attempt },
        view,
        forward: null,
        releaseForward: false,
        deadlineMs,
        signal,
        transfers: (exchange) => ({
          sends: forwardSends(exchange, inputs),
          receives: forwardReturns(exchange, { out, lse }),
        }),
      });
      return { ...outcome, view, out, lse };
    } catch (error) {
      if (storeIsFull(error)) {
        view = { ...view, keep: 'recompute' };
        cluster.warnOnce(
          'recompute',
          `this forward is recomputed in backward instead of stored: ${error.message}`,
        );
      }
      out.free();
      lse.free();
      throw error;
    }
  });
}

/** The store is full of this session's own forwards, or too small for this one. */
function storeIsFull(error: unknown): error is UlyssesError {
  return (
    error instanceof UlyssesError && error.code === 'OVERLOADED' && error.details['remedy'] === 'recompute'
  );
}

export interface Gradients {
  readonly dq: Region;
  readonly dk: Region;
  readonly dv: Region;
}

export interface BackwardCall {
  readonly step: StepKey;
  readonly view: StepView;
  readonly forward: StepKey;
  readonly inputs: ForwardInputs;
  readonly dout: Region;
  readonly qShape: TensorView;
  readonly kvShape: TensorView;
  readonly releaseForward: boolean;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** One attempt at backward: dq arrives in place, partial dk and dv are folded in rank order. */
export async function backwardAttempt(
  cluster: Cluster,
  call: BackwardCall,
): Promise<StepOutcome & { readonly gradients: Gradients }> {
  const dq = allocateLike(call.qShape);
  const dk = allocateLike(call.kvShape);
  const dv = allocateLike(call.kvShape);
  let partials: { dk: Region; dv: Region }[] = [];
  try {
    const outcome = await runStep(cluster, {
      ...call,
      transfers: (exchange, carried) => {
        const rowBytes = exchange.plan.spec.headSize * 4;
        partials = exchange.byRank.map(({ kv }) => {
          const bytes = kv.reduce((sum, { begin, end }) => sum + (end - begin) * rowBytes, 0);
          return { dk: Region.allocate(bytes), dv: Region.allocate(bytes) };
        });
        return {
          sends: backwardSends(exchange, { ...call.inputs, dout: call.dout }, carried),
          receives: backwardReturns(exchange, { dq, partials }),
        };
      },
    });
    await foldGradients(outcome.exchange, partials, { dk, dv });
    return { ...outcome, gradients: { dq, dk, dv } };
  } catch (error) {
    for (const region of [dq, dk, dv]) region.free();
    throw error;
  } finally {
    for (const partial of partials) {
      partial.dk.free();
      partial.dv.free();
    }
  }
}
