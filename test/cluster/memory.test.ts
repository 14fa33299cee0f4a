import { connect, UlyssesContextAttention, type Cluster } from '@ulysses/client';
import { relayBytes } from '@ulysses/exchange';
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
const STEPS_PER_LENGTH = 3;
type Route = 'direct' | 'relay';
/** Rows see 64 keys: much to carry, little to compute. */
const WINDOW = { left: 63, right: 0 };
const HEADS = { batch: 1, qHeads: 8, kvHeads: 4, headSize: 64 };

/**
 * A rank's peak by the plan: what it keeps between the passes, and what backward adds, partial sums included; and what it
 * passes on meanwhile between the owner and the other rank.
 */
function planPeaks(rows: number, route: Route): number[] {
  const { batch, qHeads, kvHeads, headSize } = HEADS;
  const spec: StepSpec = {
    ...{ dtype: 'f32', layout: 'sbhd', batch, qHeads, kvHeads, headSize },
    ...{ qSplits: splitSizes(rows, CP_SIZE), kvSplits: splitSizes(rows, CP_SIZE) },
    mask: { ...WINDOW, segments: null, validRanges: null },
    ...{ scale: 0.125, strategy: 'heads', weights: null },
  };
  const plan = createPlan(spec, CP_SIZE);
  return explainPlan(plan).ranks.map(({ rank, storeBytes, backwardBytes }) => {
    const relayed = relayBytes(plan, rank, 'backward', [], route === 'direct' ? [0] : []);
    return storeBytes.none + backwardBytes + relayed;
  });
}

/** Rows travel by TCP, so that all that a rank holds of them is its own memory. */
async function onCluster<T>(
  act: (cluster: TestCluster, connection: Cluster) => Promise<T>,
  route: Route = 'direct',
): Promise<T> {
  const cluster = await startCluster({
    cpSize: CP_SIZE,
    collectOften: true,
    env: { ULYSSES_TRANSPORT: 'tcp' },
  });
  try {
    const connection = await connect({ address: cluster.address, transport: 'tcp', route });
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

describe('resident memory of a rank', () => {
  it.each(['direct', 'relay'] as const)(
    'peaks at 1.25 times the plan’s bytes and a constant at most, as the sequence doubles four times on one cluster, route %s',
    async (route) => {
      await onCluster(async (cluster, connection) => {
        const peaks = async (rows: number): Promise<number[]> => {
          const inputs = stepInputs({ rows, ...HEADS }, 7);
          for (let i = 0; i < STEPS_PER_LENGTH; i++) await step(connection, inputs);
          return await Promise.all(RANKS.map((rank) => peakResidentBytes(cluster.pidOf(rank))));
        };
        // Of steps that are next to nothing: node, the addon, what a step needs whatever its size.
        const constants = await peaks(64);
        for (let rows = 2_048; rows <= 2_048 * 2 ** 4; rows *= 2) {
          const [actual, planned] = [await peaks(rows), planPeaks(rows, route)];
          for (const rank of RANKS) {
            const limit = 1.25 * planned[rank]! + constants[rank]! + 16 * 2 ** 20;
            expect(actual[rank], `rank ${rank}, ${rows} rows, plan ${planned[rank]}`).toBeLessThanOrEqual(
              limit,
            );
          }
        }
      }, route);
    },
    480_000,
  );

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
