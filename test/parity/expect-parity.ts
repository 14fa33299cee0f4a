import { runStep, type OwnerDone } from '../support/cluster-step.js';
import { expectBoundSees, expectWithinBound, referenceOf } from '../support/expect-attention.js';
import { causal, full } from '../support/reference-mask.js';
import { stepInputs } from '../support/step-inputs.js';
import type { ParityCase } from './cases.js';
import { expectPlanBytes, planOf } from './expect-plan-bytes.js';

/** Runs one case through a cluster and compares everything that comes back with the float64 reference, and the bytes with the plan. */
export async function expectParity(address: string, testCase: ParityCase): Promise<void> {
  const { rows, splits, strategy, mask } = testCase;
  const inputs = stepInputs(testCase, rows);
  const done: OwnerDone[] = [];
  const actual = await runStep(
    {
      address,
      splits,
      attention: { strategy, causal: mask === 'causal' },
      onDone: (owner) => done.push(owner),
    },
    inputs,
  );
  expectPlanBytes(planOf(testCase), done);
  const reference = referenceOf(inputs, mask === 'causal' ? causal : full);
  expectWithinBound(actual, reference);
  expectBoundSees(reference);
}
