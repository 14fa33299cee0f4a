import { UlyssesError } from '@ulysses/errors';
import {
  backwardReturns,
  backwardSends,
  foldGradients,
  forwardReturns,
  forwardSends,
  ownerBytes,
  ownerExchange,
  type OwnerExchange,
} from '@ulysses/exchange';
import { Region, type StepKey } from '@ulysses/native';
import { carriedTensors, type ExchangePlan, type Keep, type Plan } from '@ulysses/plan';
import { isExchangePlan, type StepView } from '@ulysses/rpc';
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

/** What a pass of attention did. */
export interface PassOutcome extends StepOutcome {
  readonly keep: Keep;
}

export interface ForwardOutcome extends PassOutcome {
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
        verified: (plan) => attentionPlan(cluster, plan),
        transfers: (plan) => {
          const exchange = exchangeOf(cluster, plan, view);
          return {
            sends: forwardSends(exchange, inputs),
            receives: forwardReturns(exchange, { out, lse }),
            sendBytes: ownerBytes(exchange, 'forward', []).sent,
          };
        },
      });
      return { ...outcome, keep: view.keep, view, out, lse };
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
): Promise<PassOutcome & { readonly gradients: Gradients }> {
  const dq = allocateLike(call.qShape);
  const dk = allocateLike(call.kvShape);
  const dv = allocateLike(call.kvShape);
  let partials: { dk: Region; dv: Region }[] = [];
  let fold = (): Promise<void> => Promise.resolve();
  try {
    const outcome = await runStep(cluster, {
      ...call,
      verified: (plan) => attentionPlan(cluster, plan),
      transfers: (plan, planned) => {
        const carried = carriedTensors(call.view.keep, planned.kvCachePolicy);
        const exchange = exchangeOf(cluster, plan, call.view);
        const rowBytes = exchange.plan.spec.headSize * 4;
        partials = exchange.byRank.map(({ kv }) => {
          const bytes = kv.reduce((sum, { begin, end }) => sum + (end - begin) * rowBytes, 0);
          return { dk: Region.allocate(bytes), dv: Region.allocate(bytes) };
        });
        fold = () => foldGradients(exchange, partials, { dk, dv });
        return {
          sends: backwardSends(exchange, { ...call.inputs, dout: call.dout }, carried),
          receives: backwardReturns(exchange, { dq, partials }),
          sendBytes: ownerBytes(exchange, 'backward', carried).sent,
        };
      },
    });
    await fold();
    return { ...outcome, keep: call.view.keep, gradients: { dq, dk, dv } };
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

/** @throws PLAN_INVALID for a plan of another operation, or one that is wrong */
function attentionPlan({ plans }: Cluster, plan: Plan | ExchangePlan): Plan {
  if (isExchangePlan(plan)) throw new UlyssesError('PLAN_INVALID', 'an exchange was planned, not attention');
  return plans.verified(plan);
}

function exchangeOf({ exchanges, options }: Cluster, plan: Plan, { qRows, kvRows }: StepView): OwnerExchange {
  return exchanges.of(
    plan,
    ({ q, kv }) => q.rows === qRows && kv.rows === kvRows,
    () => ownerExchange(plan, options.ownerIndex, { q: qRows, kv: kvRows }),
  );
}
