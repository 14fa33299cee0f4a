import { isDeepStrictEqual } from 'node:util';
import { createPlan, verifyPlan } from './plan.js';
import type { Plan, StepSpec } from './spec.js';

/** Layers and passes of a step of training differ in a few plans at most. */
const KNOWN = 16;
/** What is derived from a plan grows with its units, and plans of many packed samples are seldom met again. */
const MOST_UNITS = 2 ** 13;

/**
 * The plans of the last steps. Most steps have the plan of one before: then that very object is given again, so that what was
 * derived from it need not be derived again.
 *
 * K1: at most `KNOWN` plans are held, of about `MOST_UNITS` units each; the one that was not asked for the longest goes first.
 */
export class KnownPlans {
  /** The newest last. */
  readonly #plans: Plan[] = [];

  /** The known plan that equals this one, or else this one. @throws like `verifyPlan` */
  verified(plan: Plan): Plan {
    const isEqual = (known: Plan): boolean => known.planId === plan.planId && isDeepStrictEqual(known, plan);
    return this.#known(isEqual, () => {
      verifyPlan(plan);
      return plan;
    });
  }

  /** As `createPlan`. */
  created(spec: StepSpec, cpSize: number): Plan {
    const isEqual = (known: Plan): boolean => known.cpSize === cpSize && isDeepStrictEqual(known.spec, spec);
    return this.#known(isEqual, () => createPlan(spec, cpSize));
  }

  #known(isEqual: (known: Plan) => boolean, otherwise: () => Plan): Plan {
    const index = this.#plans.findLastIndex(isEqual);
    const [plan = otherwise()] = index === -1 ? [] : this.#plans.splice(index, 1);
    if (unitsOf(plan) <= MOST_UNITS) this.#plans.push(plan);
    if (this.#plans.length > KNOWN) this.#plans.shift();
    return plan;
  }
}

/** About so many: masks and cuts may cut some of them again. */
function unitsOf({ cpSize, spec: { batch, qHeads, qSplits, mask } }: Plan): number {
  return batch * qHeads * (mask.segments?.cuSeqlensQ.length ?? 1) + qSplits.length + cpSize;
}

/** What `derive` makes of a plan, made once per plan object for as long as `fits` says so. */
export class DerivedFromPlans<Derived> {
  readonly #derived = new WeakMap<Plan, Derived>();

  of(plan: Plan, fits: (derived: Derived) => boolean, derive: () => Derived): Derived {
    const known = this.#derived.get(plan);
    if (known !== undefined && fits(known)) return known;
    const derived = derive();
    this.#derived.set(plan, derived);
    return derived;
  }
}
