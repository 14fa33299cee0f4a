import { expect, test } from 'vitest';
import { Region, foldPartials } from './index.js';

const [ROWS, HEAD_SIZE] = [3, 2];
const VALUES = ROWS * HEAD_SIZE;

function partials(values: readonly (readonly number[])[]) {
  const region = Region.allocate(Math.max(1, values.length) * VALUES * 4);
  region.float32(0, values.length * VALUES).set(values.flat());
  return values.map((_, i) => ({ region, offsetBytes: i * VALUES * 4, rowStride: HEAD_SIZE }));
}

test('partials are summed in their order, in float32', async () => {
  // 1 + 2^24 - 2^24 is 0 in float32, and 1 in the other order.
  const [one, big, negative] = [1, 2 ** 24, -(2 ** 24)].map((value) => new Array<number>(VALUES).fill(value));
  const target = Region.allocate(ROWS * 3 * 4);
  target.bytes.fill(0xff);
  const rows = { region: target, offsetBytes: 0, rowStride: 3 };
  const job = { target: rows, dtype: 'f32' as const, rows: ROWS, headSize: HEAD_SIZE };
  await foldPartials({ ...job, partials: partials([one!, big!, negative!]) });
  // The third column is not part of the rows.
  expect([...target.float32()]).toEqual([0, 0, NaN, 0, 0, NaN, 0, 0, NaN]);
  await foldPartials({ ...job, partials: partials([big!, negative!, one!]) });
  expect([...target.float32()]).toEqual([1, 1, NaN, 1, 1, NaN, 1, 1, NaN]);
});

test('the sum is rounded to the target once', async () => {
  // In bf16 1 + 2^-8 is a tie that rounds to 1; two of them added first give 1 + 2^-7, which bf16 has.
  const [one, tiny] = [1, 2 ** -8].map((value) => new Array<number>(VALUES).fill(value));
  const region = Region.allocate(VALUES * 2);
  const target = { region, offsetBytes: 0, rowStride: HEAD_SIZE };
  const job = { target, dtype: 'bf16' as const, rows: ROWS, headSize: HEAD_SIZE };
  await foldPartials({ ...job, partials: partials([one!, tiny!, tiny!]) });
  expect([...new Uint16Array(region.bytes.buffer)]).toEqual(new Array(VALUES).fill(0x3f81));
});

test('no partials give zeros', async () => {
  const region = Region.allocate(VALUES * 4);
  region.bytes.fill(0xff);
  const target = { region, offsetBytes: 0, rowStride: HEAD_SIZE };
  await foldPartials({ target, dtype: 'f32', rows: ROWS, headSize: HEAD_SIZE, partials: [] });
  expect([...region.float32()]).toEqual(new Array(VALUES).fill(0));
});
