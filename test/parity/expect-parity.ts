import { runStep } from '../support/cluster-step.js';
import { expectBoundSees, expectWithinBound, referenceOf } from '../support/expect-attention.js';
import { causal, full } from '../support/reference-mask.js';
import { stepInputs } from '../support/step-inputs.js';
import type { ParityCase } from './cases.js';

/** Runs one case through a cluster and compares everything that comes back with the float64 reference. */
export async function expectParity(address: string, testCase: ParityCase): Promise<void> {
  const { rows, splits, strategy, mask } = testCase;
  const inputs = stepInputs(testCase, rows);
  const actual = await runStep(
    { address, splits, attention: { strategy, causal: mask === 'causal' } },
    inputs,
  );
  const reference = referenceOf(inputs, mask === 'causal' ? causal : full);
  expectWithinBound(actual, reference);
  expectBoundSees(reference);
}
