import { describe, it } from 'vitest';
import { startCluster } from '../support/cluster.js';
import { describeCase, LONG_CASES } from './cases.js';
import { expectParity } from './expect-parity.js';

describe('at 8190 rows, out, LSE, dq, dk and dv agree with the float64 reference', () => {
  it.each(LONG_CASES.map((testCase) => [describeCase(testCase), testCase] as const))(
    '%s',
    { timeout: 240_000 },
    async (_title, testCase) => {
      const cluster = await startCluster({ cpSize: testCase.cpSize });
      try {
        await expectParity(cluster.address, testCase);
      } finally {
        await cluster.stop();
      }
    },
  );
});
