import { randomUUID } from 'node:crypto';
import { connect, UlyssesContextAttention, type AttentionGradients } from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { cutBeforeMessage } from '../support/cutting-proxy.js';
import { shardOf, stepInputs } from '../support/step-inputs.js';

const INPUTS = stepInputs({ rows: 41, batch: 1, qHeads: 3, kvHeads: 1, headSize: 16 }, 11);
const SHARDS = [
  [0, 17],
  [17, 41],
] as const;
/** What an owner hears in forward and backward: planned, committed, planned, committed. */
const [PLANNED, COMMITTED, , BACKWARD_COMMITTED] = [1, 2, 3, 4];
const NEVER = 99;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: 2 });
});
afterAll(async () => {
  await cluster.stop();
});

interface OwnerOutcome {
  readonly out: ArrayLike<number>;
  readonly gradients: readonly ArrayLike<number>[];
  readonly attempts: readonly number[];
}

/** Two owners make a forward and a backward; the second loses its connection when `message` comes to it. */
async function twoOwners(
  message: number,
): Promise<{ owners: OwnerOutcome[]; replays: number; cut: boolean }> {
  const proxy = await cutBeforeMessage(cluster.address, message);
  const session = randomUUID();
  let replays = 0;
  try {
    const owners = await Promise.all(
      SHARDS.map(async ([begin, end], ownerIndex) => {
        const connection = await connect({
          address: ownerIndex === 1 ? proxy.address : cluster.address,
          session,
          ownerIndex,
          ownerCount: SHARDS.length,
          deadlineMs: 20_000,
          onReplay: () => replays++,
        });
        const [q, k, v, dout] = [INPUTS.q, INPUTS.k, INPUTS.v, INPUTS.dout].map((tensor) =>
          shardOf(tensor, begin, end),
        );
        try {
          const attention = new UlyssesContextAttention(null, connection, { causal: true });
          const step = await attention.forward(q!, k!, v!);
          const gradients: AttentionGradients = await step.backward(dout!);
          return {
            out: step.out.data,
            gradients: [gradients.dq.data, gradients.dk.data, gradients.dv.data],
            attempts: [step.report.attempt, gradients.report.attempt],
          };
        } finally {
          await connection.close();
        }
      }),
    );
    return { owners, replays, cut: proxy.cut };
  } finally {
    await proxy.stop();
  }
}

const bits = ({ out, gradients }: OwnerOutcome): unknown => ({ out, gradients });

describe('an owner whose connection to the coordinator breaks', () => {
  it.each([
    ['a forward', COMMITTED],
    ['a backward', BACKWARD_COMMITTED],
  ])(
    'when it should hear that %s committed learns it afterwards: nobody repeats anything',
    async (_, message) => {
      const whole = await twoOwners(NEVER);
      expect(whole.cut).toBe(false);
      const { owners, replays, cut } = await twoOwners(message);
      expect(cut).toBe(true);
      expect(replays).toBe(0);
      expect(owners.map(({ attempts }) => attempts)).toEqual([
        [0, 0],
        [0, 0],
      ]);
      expect(owners.map(bits)).toEqual(whole.owners.map(bits));
    },
  );

  it('before anything moved: the step ends for all, and all repeat it together, to the same bits', async () => {
    const whole = await twoOwners(NEVER);
    const { owners, replays, cut } = await twoOwners(PLANNED);
    expect(cut).toBe(true);
    expect(replays).toBe(2);
    expect(owners.map(({ attempts }) => attempts[0])).toEqual([1, 1]);
    expect(owners.map(bits)).toEqual(whole.owners.map(bits));
  });
});
