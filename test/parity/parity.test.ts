import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, startSingleRank } from '../support/cluster.js';
import { runStep, type WholeResult } from '../support/cluster-step.js';
import { largestDeviation } from '../support/error-bound.js';
import { referenceOf, RESULTS } from '../support/expect-attention.js';
import { causal } from '../support/reference-mask.js';
import { stepInputs } from '../support/step-inputs.js';
import { CP_SIZES, describeCase, evenShares, PARITY_CASES } from './cases.js';
import { expectParity } from './expect-parity.js';

/** Computed by every number of ranks, and compared across them at the end. */
const COMMON = { rows: 251, batch: 2, qHeads: 7, kvHeads: 1, headSize: 40 };
const commonInputs = stepInputs(COMMON, 77);
const byCpSize = new Map<number, WholeResult>();

describe.each(CP_SIZES)('on %i ranks, out, LSE, dq, dk and dv agree with the float64 reference', (cpSize) => {
  let cluster: { readonly address: string; stop(): Promise<void> };
  beforeAll(async () => {
    cluster = cpSize === 1 ? await startSingleRank() : await startCluster({ cpSize });
  });
  afterAll(async () => {
    await cluster.stop();
  });

  const cases = PARITY_CASES.filter((testCase) => testCase.cpSize === cpSize);
  it.each(cases.map((testCase) => [describeCase(testCase), testCase] as const))(
    '%s',
    async (_title, testCase) => {
      await expectParity(cluster.address, testCase);
    },
  );

  it('the step that all numbers of ranks share', async () => {
    const step = {
      address: cluster.address,
      splits: evenShares(COMMON.rows, cpSize),
      attention: { causal: true },
    };
    byCpSize.set(cpSize, await runStep(step, commonInputs));
  });
});

it('results do not depend on the number of ranks beyond rounding', () => {
  const { magnitudes, one } = { magnitudes: referenceOf(commonInputs, causal), one: byCpSize.get(1)! };
  for (const cpSize of CP_SIZES) {
    for (const name of RESULTS) {
      const reference = Float64Array.from(one[name]);
      const { ratio } = largestDeviation(byCpSize.get(cpSize)![name], { ...magnitudes[name], reference });
      expect(ratio, `${name} on ${cpSize} ranks against 1`).toBeLessThanOrEqual(2);
    }
  }
});
