import { afterAll, beforeAll, describe, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep } from '../support/cluster-step.js';
import { RELATIVE_OF } from '../support/error-bound.js';
import { expectWithinBound, referenceOf } from '../support/expect-attention.js';
import { visibleBy } from '../support/reference-mask.js';
import { stepInputs } from '../support/step-inputs.js';
import { roundedInputs } from '../support/tensor-forms.js';
import { describeForm, FORM_CASES, FORM_CP_SIZES } from './form-cases.js';

describe.each(FORM_CP_SIZES)('on %i ranks, every dtype, layout and mask agrees with float64', (cpSize) => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startCluster({ cpSize });
  });
  afterAll(async () => {
    await cluster.stop();
  });

  const cases = FORM_CASES.filter((testCase) => testCase.cpSize === cpSize);
  it.each(cases.map((testCase) => [describeForm(testCase), testCase] as const))(
    '%s',
    async (_title, testCase) => {
      const { dtype, layout, mask, rows, keys, splits, kvSplits, strategy, scale } = testCase;
      const inputs = roundedInputs(stepInputs(testCase, rows), dtype);
      const attention = { mask, strategy, ...(scale === null ? {} : { scale }) };
      const step = { address: cluster.address, splits, kvSplits, form: { dtype, layout }, attention };
      const actual = await runStep(step, inputs);
      const reference = referenceOf(inputs, visibleBy(mask, rows, keys), scale);
      expectWithinBound(actual, reference, RELATIVE_OF[dtype]);
    },
  );
});
