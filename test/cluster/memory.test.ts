import { connect, UlyssesContextAttention, type Cluster } from '@ulysses/client';
import { createPlan, explainPlan, splitSizes, type StepSpec } from '@ulysses/plan';
import { describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { peakResidentBytes } from '../support/peak-resident-bytes.js';
import { residentBytes } from '../support/resident-bytes.js';
import { stepInputs, type StepInputs } from '../support/step-inputs.js';

const CP_SIZE = 2;
const RANKS = Array.from({ length: CP_SIZE }, (_, rank) => rank);
/** Small steps of the second test; `npm run test:soak -- --steps N` sets them. */
const STEPS = Number(process.env['ULYSSES_TEST_SMALL_STEPS'] ?? 400);
const IN_FLIGHT = 4;
/** Rows see 64 keys: much to carry, little to compute. */
const WINDOW = { left: 63, right: 0 };
const HEADS = { batch: 1, qHeads: 8, kvHeads: 4, headSize: 64 };

/** A rank's peak by the plan: what it keeps between the passes, and what backward adds, partial sums included. */
function planPeaks(rows: number): number[] {
  const { batch, qHeads, kvHeads, headSize } = HEADS;
  const spec: StepSpec = {
    ...{ dtype: 'f32', layout: 'sbhd', batch, qHeads, kvHeads, headSize },
    ...{ qSplits: splitSizes(rows, CP_SIZE), kvSplits: splitSizes(rows, CP_SIZE) },
    mask: { ...WINDOW, segments: null, validRanges: null },
    ...{ scale: 0.125, strategy: 'heads', weights: null },
  };
  const { ranks } = explainPlan(createPlan(spec, CP_SIZE));
  return ranks.map(({ storeBytes, backwardBytes }) => storeBytes.none + backwardBytes);
}

/** Rows travel by TCP, so that all that a rank holds of them is its own memory. */
async function onCluster<T>(act: (cluster: TestCluster, connection: Cluster) => Promise<T>): Promise<T> {
  const cluster = await startCluster({
    cpSize: CP_SIZE,
    collectOften: true,
    env: { ULYSSES_TRANSPORT: 'tcp' },
  });
  try {
    const connection = await connect({ address: cluster.address, transport: 'tcp', route: 'direct' });
    try {
      return await act(cluster, connection);
    } finally {
      await connection.close();
    }
  } finally {
    await cluster.stop();
  }
}

async function step(connection: Cluster, { q, k, v, dout }: StepInputs): Promise<void> {
  const attention = new UlyssesContextAttention(null, connection, { mask: WINDOW });
  await (await attention.forward(q, k, v)).backward(dout);
}

/** What the ranks have had resident at most, after a first forward and backward of so many rows. */
async function peaksOfStep(rows: number): Promise<number[]> {
  return await onCluster(async (cluster, connection) => {
    await step(connection, stepInputs({ rows, ...HEADS }, 7));
    return await Promise.all(RANKS.map((rank) => peakResidentBytes(cluster.pidOf(rank))));
  });
}

describe('resident memory of a rank', () => {
  it('peaks at 1.25 times the plan’s bytes and a constant at most, as the sequence doubles four times', async () => {
    // Of a process whose step is next to nothing: node, the addon, what a step needs whatever its size.
    const constants = await peaksOfStep(64);
    for (let rows = 2_048; rows <= 2_048 * 2 ** 4; rows *= 2) {
      const [peaks, planned] = [await peaksOfStep(rows), planPeaks(rows)];
      for (const rank of RANKS) {
        const limit = 1.25 * planned[rank]! + constants[rank]! + 16 * 2 ** 20;
        expect(peaks[rank], `rank ${rank}, ${rows} rows, plan ${planned[rank]}`).toBeLessThanOrEqual(limit);
      }
    }
  }, 240_000);

  it(
    `is the same after ${STEPS} small steps, ${IN_FLIGHT} of them in flight at a time`,
    async () => {
      const inputs = stepInputs({ rows: 64, ...HEADS }, 7);
      await onCluster(async (cluster, connection) => {
        const run = async (steps: number): Promise<number[]> => {
          let left = steps;
          const inTurn = async (): Promise<void> => {
            while (left-- > 0) await step(connection, inputs);
          };
          await Promise.all(Array.from({ length: IN_FLIGHT }, inTurn));
          return await Promise.all(RANKS.map((rank) => residentBytes([cluster.pidOf(rank)])));
        };
        // Heaps, pools and traces fill first: the ranks keep the traces of 256 steps, each of two passes.
        const before = await run(Math.max(300, STEPS / 10));
        const after = await run(STEPS);
        for (const rank of RANKS) {
          expect(after[rank], `rank ${rank}, ${before[rank]} before`).toBeLessThanOrEqual(
            before[rank]! * 1.05 + 4 * 2 ** 20,
          );
        }
      });
    },
    120_000 + STEPS * 200,
  );
});
