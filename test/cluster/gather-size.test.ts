import { fileURLToPath } from 'node:url';
import { randomUUID } from 'node:crypto';
import {
  connect,
  UlyssesContextAttention,
  type AttentionResult,
  type Cluster,
  type GatherSizeCalculator,
  type GatherSizeInput,
} from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep } from '../support/cluster-step.js';
import { expectSameBits, referenceOf } from '../support/expect-attention.js';
import { causal } from '../support/reference-mask.js';
import { shardOf, stepInputs } from '../support/step-inputs.js';

const CUSTOM = fileURLToPath(new URL('../support/gather-size-from-kwargs.mjs', import.meta.url));
const SHAPE = { rows: 23, batch: 2, qHeads: 3, kvHeads: 1, headSize: 8 };
const { q, k, v, dout } = stepInputs(SHAPE, 9);

let cluster: TestCluster;
let connection: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ cpSize: 3, flags: ['--gather-size-calculator', CUSTOM] });
  connection = await connect({ address: cluster.address, deadlineMs: 10_000 });
});
afterAll(async () => {
  await connection.close();
  await cluster.stop();
});

/** Uses the coordinator's own calculator: the module above. */
function attentionOf(calculator: GatherSizeCalculator | null): UlyssesContextAttention {
  return new UlyssesContextAttention(null, connection, { causal: true, gatherSizeCalculator: calculator });
}

function rowOf(data: ArrayLike<number>, row: number, rowSize: number): number[] {
  return Array.from({ length: rowSize }, (_, i) => data[row * rowSize + i] ?? NaN);
}

describe("a calculator module given on the coordinator's command line", () => {
  it('gets the arguments of the call, and rows beyond its gather size stay zero in results and gradients', async () => {
    const step = await attentionOf(null).forward(q, k, v, { kwargs: { gather_size: 20 } });
    expect(step.report).toMatchObject({ gatherSize: 20, paddingRows: 6, paddingRowsNotExchanged: 6 });
    const { dq, dk, dv } = await step.backward(dout);
    const qRow = SHAPE.batch * SHAPE.qHeads * SHAPE.headSize;
    const kvRow = SHAPE.batch * SHAPE.kvHeads * SHAPE.headSize;
    for (const row of [20, 21, 22]) {
      for (const data of [step.out.data, dq.data])
        expect(rowOf(data, row, qRow).every((x) => x === 0)).toBe(true);
      for (const data of [dk.data, dv.data]) expect(rowOf(data, row, kvRow).every((x) => x === 0)).toBe(true);
    }
    // Causal rows below the gather size do not see the tail, so they are those of the whole sequence.
    const { out } = referenceOf({ q, k, v, dout }, causal);
    const exchanged = 20 * qRow;
    for (let i = 0; i < exchanged; i++) expect(step.out.data[i]).toBeCloseTo(out.reference[i] ?? NaN, 5);
  });

  it.each([
    [{ gather_size: 24 }, 'FromKwargs', '24', 'from 1 to 23'],
    [{ gather_size: 2.5 }, 'FromKwargs', '2.5', 'from 1 to 23'],
    [{ gather_size: 'many' }, 'FromKwargs', '"many"', 'from 1 to 23'],
    [{ fail: 'no mask in this batch' }, 'FromKwargs', 'no mask in this batch', 'a gather size or null'],
  ])(
    'a wrong result for %j is a typed error with calculator, value and expectation',
    async (kwargs, name, value, expected) => {
      const failed = await attentionOf(null)
        .forward(q, k, v, { kwargs })
        .catch((error: unknown) => error);
      expect(failed).toMatchObject({ code: 'SHAPE_MISMATCH' });
      const { message } = failed as Error;
      for (const part of [name, value, expected]) expect(message).toContain(part);
    },
  );

  it('that never answers is named at the deadline, and the next step works', async () => {
    const call = attentionOf(null).forward(q, k, v, { kwargs: { never: true }, deadlineMs: 500 });
    await expect(call).rejects.toMatchObject({
      code: 'DEADLINE',
      message: 'the deadline passed: the step was still in phase gather size of FromKwargs',
    });
    const step = await attentionOf(null).forward(q, k, v, { kwargs: { gather_size: 20 } });
    await step.release();
  });
});

describe("a calculator of the client's own", () => {
  it('runs in the client, and its gather size counts', async () => {
    class Half implements GatherSizeCalculator {
      calculate({ shardRows }: Parameters<GatherSizeCalculator['calculate']>[0]): number {
        return Math.ceil((shardRows[0] ?? 0) / 2);
      }
    }
    const step = await attentionOf(new Half()).forward(q, k, v);
    expect(step.report.gatherSize).toBe(12);
    await step.release();
  });

  class FromKwargs implements GatherSizeCalculator {
    async calculate({ kwargs }: GatherSizeInput): Promise<number | null> {
      await (kwargs.when as Promise<void> | undefined);
      return kwargs.gather_size as number;
    }
  }

  /** Two owners of 12 and 11 rows, each with a calculator of its own. */
  async function withTwoOwners(
    run: (
      owners: readonly { attention: UlyssesContextAttention; begin: number; end: number }[],
    ) => Promise<void>,
  ): Promise<void> {
    const session = randomUUID();
    const owners = await Promise.all(
      [0, 1].map((ownerIndex) => connect({ address: cluster.address, session, ownerIndex, ownerCount: 2 })),
    );
    try {
      await run(
        owners.map((owner, index) => ({
          attention: new UlyssesContextAttention(null, owner, { gatherSizeCalculator: new FromKwargs() }),
          begin: [0, 12][index]!,
          end: [12, 23][index]!,
        })),
      );
    } finally {
      await Promise.all(owners.map((owner) => owner.close()));
    }
  }

  it('says how much of the shards of all owners counts, though each knows its own alone', async () => {
    await withTwoOwners(async (owners) => {
      const steps = await Promise.all(
        owners.map(({ attention, begin, end }) => {
          const shard = [q, k, v].map((tensor) => shardOf(tensor, begin, end));
          return attention.forward(shard[0]!, shard[1]!, shard[2]!, { kwargs: { gather_size: 20 } });
        }),
      );
      for (const { report } of steps) expect(report).toMatchObject({ gatherSize: 20, paddingRows: 6 });
      await Promise.all(steps.map((step) => step.release()));
    });
  });

  it.each([1, 2])(
    'that answers too much is named to all of %d owners, with value and expectation',
    async (count) => {
      const refused = (call: Promise<AttentionResult>): Promise<void> =>
        expect(call).rejects.toMatchObject({
          code: 'SHAPE_MISMATCH',
          message:
            'gather size of FromKwargs for tensor q is 24, expected null or an integer from 1 to 23, the rows of all shards',
        });
      const kwargs = { gather_size: 24 };
      if (count === 1) {
        await refused(attentionOf(new FromKwargs()).forward(q, k, v, { kwargs }));
        return;
      }
      await withTwoOwners(async (owners) => {
        await Promise.all(
          owners.map(({ attention, begin, end }) => {
            const shard = shardOf(q, begin, end);
            return refused(attention.forward(shard, shard, shard, { kwargs }));
          }),
        );
      });
    },
  );

  it('that takes longer in the first of two calls does not swap them: all owners number calls as they are made', async () => {
    await withTwoOwners(async (owners) => {
      const sizes = await Promise.all(
        owners.map(async ({ attention, begin, end }, owner) => {
          const shard = shardOf(q, begin, end);
          const calls: Promise<AttentionResult>[] = [];
          let go: () => void = () => undefined;
          const when = owner === 0 ? new Promise<void>((resolve) => (go = resolve)) : undefined;
          calls.push(attention.forward(shard, shard, shard, { kwargs: { gather_size: 20, when } }));
          calls.push(attention.forward(shard, shard, shard, { kwargs: { gather_size: 13 } }));
          // The second call has its answer by then.
          setImmediate(go);
          const steps = await Promise.all(calls);
          await Promise.all(steps.map((step) => step.release()));
          return steps.map(({ report }) => report.gatherSize);
        }),
      );
      expect(sizes).toEqual([
        [20, 13],
        [20, 13],
      ]);
    });
  });
});

describe('lengths of the attention mask', () => {
  it('say how many rows are exchanged, keys beyond a sample are not seen, and padding is counted', async () => {
    const dynamic = new UlyssesContextAttention(null, connection);
    const step = await dynamic.forward(q, k, v, { attentionMaskLengths: [19, 7] });
    expect(step.report).toMatchObject({ gatherSize: 19, paddingRows: 20, paddingRowsNotExchanged: 8 });
    const short = stepInputs(SHAPE, 9);
    // Whatever stands in the padding of sample 1 makes no difference.
    const perSample = SHAPE.kvHeads * SHAPE.headSize;
    for (let row = 7; row < SHAPE.rows; row++) {
      for (let i = 0; i < perSample; i++) {
        const at = (row * SHAPE.batch + 1) * perSample + i;
        short.k.data[at] = 1e3;
        short.v.data[at] = 1e3;
      }
    }
    const again = await dynamic.forward(short.q, short.k, short.v, { attentionMaskLengths: [19, 7] });
    expect(again.out.data).toEqual(step.out.data);
    await step.release();
    await again.release();
  });
});

describe('lengths with three owners', () => {
  const elements = (length: number): number => length * SHAPE.batch * SHAPE.headSize;

  it.each([
    ['the last keeps a part of its shard', [9, 8, 6], [19, 7]],
    ['the last is left without a row', [9, 6, 8], [15, 7]],
    ['the first has none at all', [0, 12, 11], [19, 7]],
  ])('give every bit that one owner gets: %s', async (_, splits, attentionMaskLengths) => {
    const { address } = cluster;
    const attention = { causal: true };
    const call = { attentionMaskLengths };
    const whole = await runStep({ address, splits: [23], attention, call }, { q, k, v, dout });
    expectSameBits(await runStep({ address, splits, attention, call }, { q, k, v, dout }), whole);
    const gatherSize = Math.max(...attentionMaskLengths);
    expect(whole.out.subarray(elements(gatherSize * SHAPE.qHeads)).every((x) => x === 0)).toBe(true);
    expect(whole.dk.subarray(elements(gatherSize * SHAPE.kvHeads)).every((x) => x === 0)).toBe(true);
    expect(whole.dk.subarray(0, elements(gatherSize * SHAPE.kvHeads)).some((x) => x !== 0)).toBe(true);
  });
});

describe('a boolean mask tensor', () => {
  it('of keys gives the bits of the same lengths, one of rows and keys those of the same band', async () => {
    const visible = new Uint8Array(2 * 23);
    visible.fill(1, 0, 19);
    visible.fill(1, 23, 23 + 7);
    const padded = new UlyssesContextAttention(null, connection, { causal: true, keep: 'none' });
    const byLengths = await padded.forward(q, k, v, {
      attentionMaskLengths: [19, 7],
      attentionMaskExtent: 23,
    });
    const byTensor = await padded.forward(q, k, v, { attentionMask: { visible, shape: [2, 23] } });
    expect(byTensor.out.data).toEqual(byLengths.out.data);

    const square = Uint8Array.from({ length: 2 * 23 * 23 }, (_, i) =>
      Number(i % 23 <= Math.floor(i / 23) % 23),
    );
    const plain = new UlyssesContextAttention(null, connection, { keep: 'none' });
    const banded = await plain.forward(q, k, v, {
      attentionMask: { visible: square, shape: [2, 1, 23, 23] },
    });
    expect(banded.out.data).toEqual((await padded.forward(q, k, v)).out.data);
  });

  it('with a hole is refused by name, before anything is sent', async () => {
    const visible = Uint8Array.from([1, 0, 1, ...new Array<number>(20).fill(1)]);
    const call = new UlyssesContextAttention(null, connection).forward(q, k, v, {
      attentionMask: { visible, shape: [23] },
    });
    await expect(call).rejects.toMatchObject({ code: 'UNSUPPORTED', details: { field: 'attention_mask' } });
  });
});
