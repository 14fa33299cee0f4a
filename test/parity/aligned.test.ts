import { connect, DefaultGatherSizeCalculator, UlyssesContextAttention } from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { stepInputs, type StepInputs } from '../support/step-inputs.js';

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: 2 });
});
afterAll(async () => {
  await cluster.stop();
});

const aligned = { gatherSizeCalculator: new DefaultGatherSizeCalculator(), causal: true };
const shape = { rows: 12, batch: 1, qHeads: 4, kvHeads: 2, headSize: 8 };
const step = (splits: readonly number[], inputs: StepInputs): Promise<unknown> =>
  runStep({ address: cluster.address, splits, attention: aligned }, inputs);

describe('the aligned exchange of DefaultGatherSizeCalculator', () => {
  it('refuses heads that do not divide, and names the calculator to use', async () => {
    await expect(step([6, 6], stepInputs({ ...shape, qHeads: 3, kvHeads: 1 }, 1))).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
      message: expect.stringMatching(/3.*DynamicGatherSizeCalculator/),
    });
  });

  it('refuses shards of different lengths, and names the odd owner and the calculator to use', async () => {
    await expect(step([7, 6], stepInputs({ ...shape, rows: 13 }, 1))).rejects.toMatchObject({
      code: 'STEP_MISMATCH',
      message: expect.stringMatching(/owner 1: q_rows is 6, expected 7.*DynamicGatherSizeCalculator/),
    });
  });

  it('gives the same bits as the unaligned one where everything divides', async () => {
    const inputs = stepInputs(shape, 1);
    const splits = [6, 6];
    const attention = { causal: true };
    const unaligned = await runStep({ address: cluster.address, splits, attention }, inputs);
    expectSameBits(
      await runStep({ address: cluster.address, splits, attention: aligned }, inputs),
      unaligned,
    );
  });

  it('serves the call again once it uses DynamicGatherSizeCalculator', async () => {
    const { q, k, v } = stepInputs({ ...shape, rows: 13, qHeads: 3, kvHeads: 1 }, 1);
    const connection = await connect({ address: cluster.address });
    const refused = new UlyssesContextAttention(null, connection, aligned).forward(q, k, v);
    await expect(refused).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' });
    const served = await new UlyssesContextAttention(null, connection, { causal: true }).forward(q, k, v);
    expect(served.report.gatherSize).toBe(13);
    await served.release();
    await connection.close();
  });
});
