import { expect, it } from 'vitest';
import { DerivedFromPlans, KnownPlans } from './known-plans.js';
import { createPlan } from './plan.js';
import type { StepSpec } from './spec.js';

function specOf(rows: number, packedAt: number | null = null): StepSpec {
  const segments = { cuSeqlensQ: [0, packedAt ?? 0, rows], cuSeqlensKv: [0, packedAt ?? 0, rows] };
  return {
    ...{ dtype: 'f32', layout: 'sbhd', batch: 1, qHeads: 4, kvHeads: 2, headSize: 8, scale: 1 },
    ...{ qSplits: [rows], kvSplits: [rows], strategy: 'balanced', weights: null },
    mask: { left: null, right: 0, segments: packedAt === null ? null : segments, validRanges: null },
  };
}

const planOf = (rows: number) => createPlan(specOf(rows), 3);

it('a plan that equals a known one is that object, by whichever way it came first', () => {
  const plans = new KnownPlans();
  const first = plans.verified(planOf(9));
  expect(plans.verified(planOf(9))).toBe(first);
  expect(plans.created(specOf(9), 3)).toBe(first);
  const other = plans.created(specOf(10), 3);
  expect(other).toEqual(planOf(10));
  expect(plans.verified(planOf(10))).toBe(other);
  expect(plans.verified(planOf(9))).toBe(first);
});

it('another cp_size, and a mask that differs in one number, are other plans', () => {
  const plans = new KnownPlans();
  const packed = plans.created(specOf(90, 30), 3);
  expect(plans.created(specOf(90, 31), 3)).toEqual(createPlan(specOf(90, 31), 3));
  expect(plans.created(specOf(90, 30), 4)).toEqual(createPlan(specOf(90, 30), 4));
  expect(plans.created(specOf(90, 30), 3)).toBe(packed);
});

it('the id of a known plan does not vouch for other contents', () => {
  const plans = new KnownPlans();
  const good = plans.verified(planOf(9));
  const refused = expect.objectContaining({ code: 'PLAN_INVALID' }) as unknown;
  expect(() => plans.verified({ ...good, cuts: [0, 1, 2, 36] })).toThrow(refused);
  expect(() => plans.verified({ ...good, spec: { ...good.spec, scale: 2 } })).toThrow(refused);
  expect(plans.verified(planOf(9))).toBe(good);
});

it('a plan that was not asked for the longest is forgotten first', () => {
  const plans = new KnownPlans();
  const [kept, forgotten] = [plans.verified(planOf(1)), plans.verified(planOf(2))];
  for (let rows = 3; rows <= 17; rows++) {
    plans.verified(planOf(rows));
    expect(plans.verified(planOf(1))).toBe(kept);
  }
  expect(plans.verified(planOf(2))).not.toBe(forgotten);
});

it('a plan of very many packed samples is not held', () => {
  const plans = new KnownPlans();
  const spec = specOf(4000);
  const cuSeqlens = Array.from({ length: 4001 }, (_, row) => row);
  const segments = { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens };
  const packed = { ...spec, mask: { ...spec.mask, segments } };
  const plan = plans.created(packed, 3);
  expect(plans.created(packed, 3)).not.toBe(plan);
});

it('what is derived from a plan is made once, and again when it does not fit', () => {
  const derived = new DerivedFromPlans<{ readonly rank: number }>();
  const plan = planOf(9);
  const of = (rank: number) =>
    derived.of(
      plan,
      (known) => known.rank === rank,
      () => ({ rank }),
    );
  const first = of(1);
  expect(of(1)).toBe(first);
  expect(of(2)).toEqual({ rank: 2 });
  expect(of(1)).not.toBe(first);
});
