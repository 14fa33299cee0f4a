import { UlyssesError, fieldError } from '@ulysses/errors';
import { checkSpec } from './check-spec.js';
import { cutLine, headCuts } from './cuts.js';
import { lineOf } from './line.js';
import { planIdOf } from './plan-id.js';
import { selfCheck } from './self-check.js';
import type { Plan, StepSpec } from './spec.js';

/**
 * The plan of a step over `cpSize` ranks; the same spec gives the same plan everywhere.
 *
 * @throws SHAPE_MISMATCH or UNSUPPORTED when the spec cannot be planned; INVARIANT when the plan's own sums are wrong
 */
export function createPlan(spec: StepSpec, cpSize: number): Plan {
  checkSpec(spec, cpSize);
  const cuts = cutLine(spec, cpSize);
  const plan = { planId: planIdOf(spec, cpSize, cuts), cpSize, spec, cuts };
  selfCheck(plan);
  return plan;
}

/**
 * What everyone who is handed a plan does before acting on it.
 *
 * @throws PLAN_INVALID when the spec cannot be planned, the cuts are not legal or the id is not that of spec and cuts
 */
export function verifyPlan(plan: Plan): void {
  const { spec, cpSize, cuts } = plan;
  try {
    checkSpec(spec, cpSize);
  } catch (error) {
    if (!(error instanceof UlyssesError)) throw error;
    throw new UlyssesError(
      'PLAN_INVALID',
      `the plan's spec is wrong: ${error.message}`,
      error.details,
      error,
    );
  }
  checkCuts(plan);
  const planId = planIdOf(spec, cpSize, cuts);
  if (plan.planId !== planId) {
    throw fieldError('PLAN_INVALID', 'planId', plan.planId, `${planId}, the id of its spec and cuts`);
  }
}

function checkCuts({ spec, cpSize, cuts }: Plan): void {
  if (cuts.length !== cpSize + 1) {
    throw fieldError('PLAN_INVALID', 'cuts', cuts, `${cpSize + 1} positions, one more than ranks`);
  }
  const { length } = lineOf(spec);
  if (cuts[0] !== 0) throw fieldError('PLAN_INVALID', 'cuts[0]', cuts[0], '0');
  if (cuts[cpSize] !== length) {
    throw fieldError('PLAN_INVALID', `cuts[${cpSize}]`, cuts[cpSize], `${length}, the rows of all heads`);
  }
  for (let index = 1; index <= cpSize; index++) {
    const [before, cut] = [cuts[index - 1]!, cuts[index]!];
    if (!Number.isSafeInteger(cut) || cut < before) {
      throw fieldError('PLAN_INVALID', `cuts[${index}]`, cut, `an integer of at least ${before}`);
    }
  }
  if (spec.strategy !== 'heads') return;
  headCuts(spec, cpSize).forEach((expected, index) => {
    if (cuts[index] === expected) return;
    throw fieldError('PLAN_INVALID', `cuts[${index}]`, cuts[index], `${expected}, with strategy heads`);
  });
}
