import { fieldError, UlyssesError } from '@ulysses/errors';
import {
  exchangeReceives,
  exchangeSends,
  foldExchange,
  keepOwn,
  keepOwnPartial,
  partialBytes,
  partialReceives,
} from '@ulysses/exchange';
import { Region, type Receive, type StepKey } from '@ulysses/native';
import {
  exchangeBytes,
  inputShape,
  outputShape,
  verifyExchangePlan,
  type ExchangePlan,
  type Plan,
} from '@ulysses/plan';
import { isExchangePlan, type ExchangeView } from '@ulysses/rpc';
import { elementBytes, type DType } from '@ulysses/tensor';
import type { Cluster } from './cluster.js';
import { elementsOf, resizedAlong, tensorOfRegion, type DenseTensor } from './dense-tensor.js';
import { withReplay, type ReplayOptions } from './replay.js';
import { runStep, type StepOutcome } from './run-step.js';
import { copyToRegion } from './tensor-view.js';

/** One exchange of one tensor, as this owner takes part in it. */
export interface ExchangeCall {
  readonly step: StepKey;
  readonly view: ExchangeView;
  /** What it holds of the gather dimension beyond its part in the plan is padding, and stays behind. */
  readonly tensor: DenseTensor;
  /** Extent of the scatter dimension of the result, which goes on with zeros; null: what is exchanged. */
  readonly resultExtent: number | null;
  /** Float32 parts are summed in owner order where gather ranges overlap, and rounded to this; null: nothing is summed. */
  readonly foldTo: DType | null;
}

export interface ExchangeOutcome extends StepOutcome<ExchangePlan> {
  readonly result: DenseTensor;
}

/** Runs an exchange until it commits, from a snapshot of the tensor. Results of attempts that failed are dropped whole. */
export async function exchangePass(
  cluster: Cluster,
  call: ExchangeCall,
  options: ReplayOptions,
): Promise<ExchangeOutcome> {
  const { step, view } = call;
  const owner = cluster.options.ownerIndex;
  const input = copyToRegion(call.tensor);
  try {
    return await withReplay(cluster, options, step.attempt, async ({ attempt, deadlineMs, signal }) => {
      const regions: Region[] = [];
      let finish = (): Promise<Region> => Promise.resolve(input);
      try {
        const outcome = await runStep(cluster, {
          step: { ...step, attempt },
          view,
          forward: null,
          releaseForward: false,
          deadlineMs,
          signal,
          verified: (plan) => exchangePlan(plan, view, owner),
          transfers: (plan) => {
            const shard = exchangedRows(plan, owner, input, call.tensor);
            const landing = (call.foldTo === null ? place : partials)(plan, owner, shard, call.foldTo);
            regions.push(...(shard === input ? [] : [shard]), ...landing.regions);
            finish = landing.finish;
            return {
              sends: exchangeSends(plan, owner, shard),
              receives: landing.receives,
              sendBytes: exchangeBytes(plan.spec, owner).sent,
            };
          },
        });
        const result = await finish();
        return { ...outcome, result: withTail(outcome.plan, owner, result, call) };
      } finally {
        for (const region of regions) region.free();
      }
    });
  } finally {
    input.free();
  }
}

/** Where an exchange's rows go, and what is done with them when all are there. */
interface Landing {
  readonly receives: Receive[];
  /** Freed when the attempt ends. */
  readonly regions: readonly Region[];
  readonly finish: () => Promise<Region>;
}

function place(plan: ExchangePlan, owner: number, shard: Region): Landing {
  const { dtype } = plan.spec;
  const output = Region.allocate(elementsOf(outputShape(plan.spec, owner)) * elementBytes(dtype));
  keepOwn(plan, owner, shard, output);
  const receives = exchangeReceives(plan, owner, output);
  return { receives, regions: [], finish: () => Promise.resolve(output) };
}

function partials(plan: ExchangePlan, owner: number, shard: Region, dtype: DType | null): Landing {
  const regions = partialBytes(plan, owner).map((bytes) => Region.allocate(bytes));
  const own = regions[owner];
  if (own !== undefined) keepOwnPartial(plan, owner, shard, own);
  return {
    receives: partialReceives(plan, owner, regions),
    regions,
    finish: async () => {
      const rounded = dtype ?? plan.spec.dtype;
      const output = Region.allocate(elementsOf(outputShape(plan.spec, owner)) * elementBytes(rounded));
      await foldExchange(plan, regions, owner, output, rounded);
      return output;
    },
  };
}

/** @throws PLAN_INVALID for a plan of another operation, or one that is wrong */
function exchangePlan(plan: Plan | ExchangePlan, view: ExchangeView, owner: number): ExchangePlan {
  if (!isExchangePlan(plan)) {
    throw new UlyssesError('PLAN_INVALID', 'attention was planned, not an exchange');
  }
  verifyExchangePlan(plan);
  for (const field of ['dtype', 'scatterDim', 'gatherDim'] as const) {
    if (plan.spec[field] === view[field]) continue;
    throw fieldError('PLAN_INVALID', field, plan.spec[field], `${view[field]}, as this owner asked for`);
  }
  inputShape(plan.spec, owner).forEach((extent, dim) => {
    const held = view.shape[dim] ?? 0;
    if (dim === view.gatherDim ? extent <= held : extent === held) return;
    throw fieldError('PLAN_INVALID', `shape[${dim}]`, extent, `${held}, as this owner has it`);
  });
  return plan;
}

/** The shard without the tail rows that are not exchanged. */
function exchangedRows({ spec }: ExchangePlan, owner: number, input: Region, tensor: DenseTensor): Region {
  const rows = inputShape(spec, owner)[spec.gatherDim]!;
  const whole = tensor.shape[spec.gatherDim] === rows;
  return whole ? input : resizedAlong(input, tensor, spec.gatherDim, rows);
}

function withTail(plan: ExchangePlan, owner: number, region: Region, call: ExchangeCall): DenseTensor {
  const { spec } = plan;
  const dtype = call.foldTo ?? spec.dtype;
  const shape = outputShape(spec, owner);
  const extent = call.resultExtent;
  if (extent === null || extent === shape[spec.scatterDim]) return tensorOfRegion(region, dtype, shape);
  const whole = resizedAlong(region, { dtype, shape }, spec.scatterDim, extent);
  region.free();
  return tensorOfRegion(
    whole,
    dtype,
    shape.map((before, dim) => (dim === spec.scatterDim ? extent : before)),
  );
}
