import { expect, test } from 'vitest';
import {
  ISAS,
  Region,
  attentionBackward,
  attentionForward,
  detectIsa,
  foldPartials,
  matmul,
  type AttentionJob,
  type ForwardUnit,
  type Isa,
} from './index.js';

const [ROWS, KV_ROWS, D] = [4, 6, 8];
const BLOCK = KV_ROWS * D * 4;
const region = Region.allocate(12 * BLOCK);

function block(index: number, rowStride = D) {
  return { region, offsetBytes: index * BLOCK, rowStride };
}

const JOB: AttentionJob = { dtype: 'f32', headSize: D, scale: 1, threads: 1 };
const FORWARD: ForwardUnit = {
  rows: ROWS,
  kvRows: KV_ROWS,
  bounds: Int32Array.from({ length: ROWS * 2 }, (_, i) => (i % 2) * KV_ROWS),
  q: block(0),
  k: block(1),
  v: block(2),
  out: block(3),
  lse: block(4, 1),
};
const BACKWARD = { ...FORWARD, dout: block(5), dq: block(6), dk: block(7), dv: block(8) };
const LAST = region.sizeBytes;

function refused(call: Promise<void>, field: string, code = 'SHAPE_MISMATCH') {
  return expect(call).rejects.toMatchObject({
    name: 'UlyssesError',
    code,
    details: { field, value: expect.any(String), expected: expect.any(String) },
  });
}

test('the calls that the bad ones are made from are good', async () => {
  await attentionForward(JOB, [FORWARD]);
  await attentionBackward(JOB, [BACKWARD]);
});

test.each<[string, Partial<ForwardUnit>]>([
  ['units[0].rows', { rows: -1 }],
  ['units[0].rows', { rows: 2.5 }],
  ['units[0].rows', { rows: 2 ** 31 }],
  ['units[0].kvRows', { kvRows: NaN }],
  ['units[0].bounds.length', { bounds: new Int32Array(ROWS) }],
  ['units[0].bounds of row 1', { bounds: Int32Array.of(0, 1, 0, KV_ROWS + 1, 0, 1, 0, 1) }],
  ['units[0].bounds of row 2', { bounds: Int32Array.of(0, 1, 0, 1, -1, 3, 0, 1) }],
  ['units[0].q', { q: { region, offsetBytes: LAST - ROWS * D * 4 + 4, rowStride: D } }],
  ['units[0].q', { q: { region, offsetBytes: LAST + 4, rowStride: 0 } }],
  ['units[0].k', { k: { region, offsetBytes: 0, rowStride: 2 ** 50 } }],
  ['units[0].v', { v: { region, offsetBytes: 0, rowStride: Math.ceil(LAST / 4 / (KV_ROWS - 1)) } }],
  ['units[0].q.offsetBytes', { q: { region, offsetBytes: 2, rowStride: D } }],
  ['units[0].q.offsetBytes', { q: { region, offsetBytes: -4, rowStride: D } }],
  ['units[0].q.offsetBytes', { q: { region, offsetBytes: 0.5, rowStride: D } }],
  ['units[0].k.rowStride', { k: { region, offsetBytes: 0, rowStride: -D } }],
  ['units[0].out.rowStride', { out: { ...block(3), rowStride: D - 1 } }],
  ['units[0].lse.rowStride', { lse: { ...block(4), rowStride: 0 } }],
  ['units[0].lse', { lse: { region, offsetBytes: LAST - 8, rowStride: 1 } }],
])('forward refuses %s %#', async (field, change) => {
  await refused(attentionForward(JOB, [{ ...FORWARD, ...change }]), field);
});

test.each<[string, Partial<AttentionJob>, string]>([
  ['headSize', { headSize: 257 }, 'UNSUPPORTED'],
  ['headSize', { headSize: 0 }, 'SHAPE_MISMATCH'],
  ['headSize', { headSize: 1.5 }, 'SHAPE_MISMATCH'],
  ['dtype', { dtype: 'f64' as 'f32' }, 'UNSUPPORTED'],
  ['scale', { scale: NaN }, 'SHAPE_MISMATCH'],
  ['scale', { scale: 1e300 }, 'SHAPE_MISMATCH'],
  ['threads', { threads: 0 }, 'SHAPE_MISMATCH'],
  ['threads', { threads: 1e9 }, 'SHAPE_MISMATCH'],
])('%s is refused for a job of %o', async (field, change, code) => {
  await refused(attentionForward({ ...JOB, ...change }, [FORWARD]), field, code);
  await refused(attentionBackward({ ...JOB, ...change }, [BACKWARD]), field, code);
});

test.each<[string, string, Partial<ForwardUnit>]>([
  ['units[0].out', 'units[0].q', { out: block(0) }],
  ['units[0].out', 'units[0].k', { out: { ...block(1), offsetBytes: BLOCK + 4 } }],
  ['units[0].lse', 'units[0].out', { lse: { ...block(3, 1), offsetBytes: 3 * BLOCK + 8 } }],
  ['units[0].lse', 'units[0].v', { lse: { ...block(2, 5), offsetBytes: 2 * BLOCK + 4 } }],
])('a forward whose %s overlaps %s is refused', async (field, other, change) => {
  await refused(attentionForward(JOB, [{ ...FORWARD, ...change }]), field);
  await expect(attentionForward(JOB, [{ ...FORWARD, ...change }])).rejects.toMatchObject({
    details: { expected: `memory apart from ${other}` },
  });
});

test.each<[string, Partial<typeof BACKWARD>]>([
  ['units[0].dq', { dq: block(5) }],
  ['units[0].dv', { dk: block(7), dv: block(7) }],
  ['units[0].dk', { dk: block(0) }],
])('a backward whose %s overlaps another operand is refused', async (field, change) => {
  await refused(attentionBackward(JOB, [{ ...BACKWARD, ...change }]), field);
});

test('units may share what they read and what they add to, but not what they write', async () => {
  const other = { ...BACKWARD, dq: block(9), out: block(10), lse: block(11, 1) };
  await attentionForward(JOB, [FORWARD, { ...FORWARD, out: block(10), lse: block(11, 1) }]);
  await attentionBackward(JOB, [BACKWARD, other]);
  await refused(attentionForward(JOB, [FORWARD, { ...FORWARD, lse: block(11, 1) }]), 'units[1].out');
  await refused(attentionBackward(JOB, [BACKWARD, { ...BACKWARD, out: block(10) }]), 'units[1].dq');
  const shifted = { region, offsetBytes: 7 * BLOCK + 4, rowStride: D };
  await refused(attentionBackward(JOB, [BACKWARD, { ...other, dk: shifted, dv: block(8) }]), 'units[1].dk');
});

test('heads of one token lie side by side without overlap', async () => {
  const heads = [0, 1].map((head) => ({
    ...FORWARD,
    q: { region, offsetBytes: head * D * 4, rowStride: 2 * D },
    out: { region, offsetBytes: 6 * BLOCK + head * D * 4, rowStride: 2 * D },
    lse: { region, offsetBytes: 9 * BLOCK + head * 4, rowStride: 2 },
  }));
  await attentionForward(JOB, heads);
});

test('an instruction set that does not exist, or not here, is refused by name', async () => {
  const missing = ISAS.slice(0, ISAS.indexOf(detectIsa()));
  for (const isa of [...missing, 'neon' as Isa]) {
    await refused(attentionForward(JOB, [FORWARD], { isa }), 'isa', 'UNSUPPORTED');
  }
});

const PRODUCT = {
  m: 2,
  n: 3,
  k: 4,
  a: { ...block(0, 4), transposed: false },
  b: { ...block(1, 3), transposed: false },
  c: { ...block(2, 3), transposed: false },
  accumulate: false,
  threads: 1,
};

test.each<[string, Partial<typeof PRODUCT>]>([
  ['m', { m: -1 }],
  ['k', { k: 0.1 }],
  ['n', { n: 2 ** 40 }],
  ['threads', { threads: 0 }],
  ['a', { a: { region, offsetBytes: LAST - 16, rowStride: 4, transposed: false } }],
  ['b', { b: { region, offsetBytes: LAST - 44, rowStride: 3, transposed: false } }],
  ['b', { b: { region, offsetBytes: LAST - 44, rowStride: 4, transposed: true } }],
  ['b.offsetBytes', { b: { region, offsetBytes: 1, rowStride: 3, transposed: false } }],
  ['c.rowStride', { c: { ...block(2, 2), transposed: false } }],
  ['c.rowStride', { c: { ...block(2, 1), transposed: true } }],
  ['c', { c: { ...block(0, 3), transposed: false } }],
])('a matrix product refuses %s %#', async (field, change) => {
  await matmul(PRODUCT);
  await refused(matmul({ ...PRODUCT, ...change }), field);
});

test.each<[string, object, string]>([
  ['partials[1]', { partials: [block(1), { ...block(0), offsetBytes: LAST - 4 }] }, 'SHAPE_MISMATCH'],
  ['target', { partials: [block(0)] }, 'SHAPE_MISMATCH'],
  ['headSize', { headSize: 0 }, 'SHAPE_MISMATCH'],
  ['rows', { rows: Infinity }, 'SHAPE_MISMATCH'],
  ['dtype', { dtype: 'int8' }, 'UNSUPPORTED'],
])('a fold refuses %s %#', async (field, change, code) => {
  const job = { target: block(0), dtype: 'f32' as const, rows: ROWS, headSize: D, partials: [block(1)] };
  await foldPartials(job);
  await refused(foldPartials({ ...job, ...change }), field, code);
});
