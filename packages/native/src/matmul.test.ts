import { expect, test } from 'vitest';
import { ISAS, Region, detectIsa, matmul, type Isa, type Matrix } from './index.js';

const [M, N, K] = [7, 11, 5];

/** A matrix with a gap after every stored row, and where element (i, j) of it lies. */
function matrix(rows: number, columns: number, transposed: boolean) {
  const [stored, width] = transposed ? [columns, rows] : [rows, columns];
  const rowStride = width + 3;
  const region = Region.allocate((stored * rowStride + 4) * 4);
  const place: Matrix = { region, offsetBytes: 16, rowStride, transposed };
  const floats = region.float32();
  const index = (i: number, j: number) => 4 + (transposed ? j * rowStride + i : i * rowStride + j);
  return { place, floats, index };
}

const available: readonly Isa[] = ISAS.slice(ISAS.indexOf(detectIsa()));
const cases = available.flatMap((isa) =>
  Array.from({ length: 16 }, (_, bits) => ({
    isa,
    ta: (bits & 1) > 0,
    tb: (bits & 2) > 0,
    tc: (bits & 4) > 0,
    accumulate: (bits & 8) > 0,
  })),
);

test.each(cases)('$isa: transposed a $ta, b $tb, c $tc, accumulate $accumulate', async (given) => {
  const [a, b, c] = [matrix(M, K, given.ta), matrix(K, N, given.tb), matrix(M, N, given.tc)];
  // Small whole numbers: every sum is exact, whatever its order.
  for (let i = 0; i < M; i++) for (let p = 0; p < K; p++) a.floats[a.index(i, p)] = i - 2 * p;
  for (let p = 0; p < K; p++) for (let j = 0; j < N; j++) b.floats[b.index(p, j)] = 3 * p - j;
  c.floats.fill(100);
  const { isa, accumulate } = given;
  const operands = { a: a.place, b: b.place, c: c.place };
  await matmul({ m: M, n: N, k: K, ...operands, accumulate, threads: 2 }, { isa });

  const expected = new Float32Array(c.floats.length).fill(100);
  for (let i = 0; i < M; i++) {
    for (let j = 0; j < N; j++) {
      let sum = accumulate ? 100 : 0;
      for (let p = 0; p < K; p++) sum += (i - 2 * p) * (3 * p - j);
      expected[c.index(i, j)] = sum;
    }
  }
  expect([...c.floats]).toEqual([...expected]);
});

test('an empty inner extent gives zeros, and an empty result is no work', async () => {
  const [a, b, c] = [matrix(M, 0, false), matrix(0, N, false), matrix(M, N, false)];
  c.floats.fill(100);
  const operands = { a: a.place, b: b.place, c: c.place };
  await matmul({ m: M, n: N, k: 0, ...operands, accumulate: false, threads: 1 });
  expect(Math.abs(c.floats[c.index(M - 1, N - 1)]!)).toBe(0);
  await matmul({ m: 0, n: N, k: 0, ...operands, accumulate: false, threads: 1 });
});
