import { connect, UlyssesContextAttention, type Cluster, type TensorView } from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { stepInputs } from '../support/step-inputs.js';

const OWNERS = 4;
const DEADLINE_MS = 5_000;

let cluster: TestCluster;
const connections: Cluster[] = [];

beforeAll(async () => {
  cluster = await startCluster({ cpSize: 2 });
});
afterEach(async () => {
  await Promise.all(connections.splice(0).map((connection) => connection.close()));
});
afterAll(async () => {
  await cluster.stop();
});

interface Call {
  readonly heads: number;
  readonly dtype: TensorView['dtype'];
  readonly lengths: readonly number[];
}

/** Four trainers make the same call, except that one of them differs; returns what each of them got. */
async function fourTrainers(odd: number, change: Partial<Call>): Promise<UlyssesError[]> {
  const session = `mismatch-${odd}-${JSON.stringify(change)}`;
  return await Promise.all(
    Array.from({ length: OWNERS }, async (_, ownerIndex) => {
      const connection = await connect({ address: cluster.address, ownerIndex, ownerCount: OWNERS, session });
      connections.push(connection);
      const call: Call = { heads: 4, dtype: 'f32', lengths: [20], ...(ownerIndex === odd ? change : {}) };
      const attention = new UlyssesContextAttention(null, connection, { causal: true });
      const { q } = stepInputs(
        { rows: 5, batch: 1, qHeads: call.heads, kvHeads: call.heads, headSize: 8 },
        1,
      );
      const view =
        call.dtype === 'f32' ? q : { ...q, dtype: call.dtype, data: new Uint16Array(q.data.length) };
      const options = { attentionMaskLengths: call.lengths, deadlineMs: DEADLINE_MS };
      return await attention.forward(view, view, view, options).then(
        () => {
          throw new Error(`owner ${ownerIndex} got a result`);
        },
        (error: unknown) => {
          if (error instanceof UlyssesError) return error;
          throw error;
        },
      );
    }),
  );
}

describe('trainers that disagree', () => {
  it.each([
    ['length', 2, { lengths: [19] }, 'attention_mask_lengths', '[19]', '[20]'],
    ['dtype', 1, { dtype: 'bf16' }, 'dtype', '"bf16"', '"f32"'],
    ['head count', 3, { heads: 2 }, 'q_heads', '2', '4'],
    ['head count, owner 0', 0, { heads: 2 }, 'q_heads', '2', '4'],
  ] as const)(
    'another %s: all four are told who, the field and both values',
    async (_, odd, change, field, value, others) => {
      const errors = await fourTrainers(odd, change);
      expect(errors).toHaveLength(OWNERS);
      for (const error of errors) {
        expect(error.code).toBe('STEP_MISMATCH');
        expect(error.details).toMatchObject({ field, value, peer: `owner ${odd}` });
        expect(error.message).toContain(others);
      }
    },
  );

  it('a trainer that does not call is named at the deadline', async () => {
    const session = 'missing-owner';
    const errors = await Promise.all(
      [0, 1, 3].map(async (ownerIndex) => {
        const connection = await connect({
          address: cluster.address,
          ownerIndex,
          ownerCount: OWNERS,
          session,
        });
        connections.push(connection);
        const { q } = stepInputs({ rows: 5, batch: 1, qHeads: 2, kvHeads: 2, headSize: 8 }, 1);
        const attention = new UlyssesContextAttention(null, connection);
        return await attention.forward(q, q, q, { deadlineMs: 1_000 }).catch((error: unknown) => error);
      }),
    );
    for (const error of errors) {
      expect(error).toBeInstanceOf(UlyssesError);
      expect(error).toMatchObject({ code: 'DEADLINE' });
      expect((error as UlyssesError).message).toContain('owner 2 of 4 did not call');
    }
  });

  it('the cluster serves the next step after every disagreement', async () => {
    const connection = await connect({ address: cluster.address });
    connections.push(connection);
    const { q, k, v } = stepInputs({ rows: 7, batch: 1, qHeads: 3, kvHeads: 1, headSize: 8 }, 2);
    const result = await new UlyssesContextAttention(null, connection).forward(q, k, v);
    expect(result.report.gatherSize).toBe(7);
    await result.release();
  });
});
