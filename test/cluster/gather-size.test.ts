import { fileURLToPath } from 'node:url';
import { connect, UlyssesContextAttention, type Cluster, type GatherSizeCalculator } from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { referenceOf } from '../support/expect-attention.js';
import { causal } from '../support/reference-mask.js';
import { stepInputs } from '../support/step-inputs.js';

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
