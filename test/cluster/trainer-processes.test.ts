import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep } from '../support/cluster-step.js';
import { stepInputs } from '../support/step-inputs.js';
import { runTrainers, type TrainerAnswer, type TrainerCall } from '../support/trainer-process.js';

const SHAPE = { rows: 37, batch: 2, qHeads: 3, kvHeads: 1, headSize: 16 };
const SEED = 21;
/** Of four owners; one holds nothing. */
const SPLITS = [11, 0, 17, 9];
const LENGTHS = [35, 20];
const DEADLINE_MS = 10_000;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: 3 });
});
afterAll(async () => {
  await cluster.stop();
});

/** The calls of four trainers, in which each holds its shard and `odd` differs by `change`. */
function calls(odd: number | null, change: Partial<TrainerCall>): TrainerCall[] {
  const session = randomUUID();
  return SPLITS.map((rows, ownerIndex) => {
    const begin = SPLITS.slice(0, ownerIndex).reduce((sum, before) => sum + before, 0);
    return {
      address: cluster.address,
      session,
      ownerIndex,
      ownerCount: SPLITS.length,
      shape: SHAPE,
      seed: SEED,
      begin,
      end: begin + rows,
      form: { dtype: 'f32', layout: 'sbhd' },
      lengths: LENGTHS,
      deadlineMs: DEADLINE_MS,
      ...(ownerIndex === odd ? change : {}),
    };
  });
}

function joined(answers: readonly TrainerAnswer[], name: 'out' | 'dq' | 'dk' | 'dv'): Float32Array {
  return Float32Array.from(answers.flatMap((answer) => [...answer[name]]));
}

describe('four trainer processes, each with its shard', () => {
  it('get every bit that one process with the whole sequence gets', async () => {
    const whole = await runStep(
      {
        address: cluster.address,
        splits: [SHAPE.rows],
        attention: { causal: true },
        call: { attentionMaskLengths: LENGTHS },
      },
      stepInputs(SHAPE, SEED),
    );
    const answers = await runTrainers(calls(null, {}));
    expect(answers.map(({ error }) => error)).toEqual([null, null, null, null]);
    for (const name of ['out', 'dq', 'dk', 'dv'] as const) expect(joined(answers, name)).toEqual(whole[name]);
  });

  it.each<[string, number, Partial<TrainerCall>, string, string, string]>([
    ['length', 2, { lengths: [35, 19] }, 'attention_mask_lengths', '[35,19]', '[35,20]'],
    ['dtype', 1, { form: { dtype: 'bf16', layout: 'sbhd' } }, 'dtype', '"bf16"', '"f32"'],
    ['head count', 0, { shape: { ...SHAPE, qHeads: 2 } }, 'q_heads', '2', '3'],
  ])(
    'of which one has another %s are all told who, the field and both values',
    async (_, odd, change, field, value, others) => {
      const answers = await runTrainers(calls(odd, change));
      expect(answers).toHaveLength(4);
      for (const { error } of answers) {
        expect(error).toMatchObject({
          code: 'STEP_MISMATCH',
          details: { field, value, peer: `owner ${odd}` },
        });
        expect(error?.message).toContain(`expected ${others}, as the other owners have it`);
      }
    },
  );

  // Their own deadline passes a little later, and names nobody.
  it('of which one never comes are told who by the coordinator', async () => {
    const answers = await runTrainers(calls(null, {}).filter(({ ownerIndex }) => ownerIndex !== 2));
    for (const { error } of answers) {
      expect(error).toMatchObject({
        code: 'DEADLINE',
        message: 'the deadline passed: owner 2 of 4 did not call',
      });
    }
  });
});
