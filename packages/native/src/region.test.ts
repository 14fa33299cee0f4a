import { constants } from 'node:buffer';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { Region, matmul, regionStats } from './index.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const MIB = 2 ** 20;

/** Collects garbage until `condition` holds; the test's own deadline ends it otherwise. */
async function untilCollected(condition: () => boolean): Promise<void> {
  while (!condition()) {
    collectGarbage();
    await setImmediate();
  }
}

test('a region is zeroed, and its views are the memory itself', () => {
  const region = Region.allocate(1024);
  expect(region.sizeBytes).toBe(1024);
  expect(region.bytes.every((byte) => byte === 0)).toBe(true);
  region.float32(8, 2).set([1.5, -2]);
  expect([...region.float32(0, 4)]).toEqual([0, 0, 1.5, -2]);
  expect(region.bytes).toBe(region.bytes);
  expect(region.bytes[11]).toBe(0x3f);
  expect(region.float32()).toHaveLength(256);
  region.free();
});

test('a copy holds the bytes given, and not what an earlier region of its size left', () => {
  const stale = Region.allocate(4096);
  stale.bytes.fill(7);
  stale.free();
  const bytes = Uint8Array.from({ length: 4000 }, (_, i) => i % 251);
  const region = Region.copyOf(bytes.subarray(1));
  bytes.fill(0);
  expect(region.sizeBytes).toBe(3999);
  expect(region.bytes.every((byte, i) => byte === (i + 1) % 251)).toBe(true);
  expect(Region.copyOf(new Uint8Array(0)).sizeBytes).toBe(0);
  region.free();
});

test('freed with its views a region is given back at once, not when its views are garbage', async () => {
  const before = regionStats().allocatedBytes;
  const region = Region.allocate(MIB);
  const [bytes, floats] = [region.bytes, region.float32(8, 2)];
  expect(regionStats().allocatedBytes).toBeGreaterThan(before);
  region.freeWithViews();
  region.freeWithViews();
  expect([bytes.length, floats.length]).toEqual([0, 0]);
  expect(() => region.bytes).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
  while (regionStats().allocatedBytes > before) await setImmediate();
  const unseen = Region.allocate(MIB);
  unseen.freeWithViews();
  expect(regionStats().allocatedBytes).toBe(before);
});

test('an empty region can be viewed', () => {
  expect(Region.allocate(0).bytes).toHaveLength(0);
});

test.each([-1, 1.5, NaN, Infinity, 2 ** 60])('a size of %s is refused by name', (size) => {
  expect(() => Region.allocate(size)).toThrow(
    expect.objectContaining({
      code: 'SHAPE_MISMATCH',
      details: {
        field: 'sizeBytes',
        value: expect.anything(),
        expected: expect.stringContaining('whole number'),
      },
    }),
  );
});

test('a size that the system cannot give is refused, not a crash', () => {
  expect(() => Region.allocate(2 ** 50)).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
});

test('a region too large for a view says so', () => {
  // Never touched, so it costs address space only.
  const region = Region.allocate(constants.MAX_LENGTH + 1);
  expect(() => region.bytes).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
  region.free();
});

test.each([
  [2, 1, 'offsetBytes'],
  [-4, 1, 'offsetBytes'],
  [128, 1, 'offsetBytes'],
  [0, 17, 'length'],
  [60, 2, 'length'],
  [0, 0.5, 'length'],
])('floats at byte %s, %s of them, are refused', (offsetBytes, length, field) => {
  const region = Region.allocate(64);
  expect(() => region.float32(offsetBytes, length)).toThrow(
    expect.objectContaining({ code: 'SHAPE_MISMATCH', details: expect.objectContaining({ field }) }),
  );
});

test('free gives memory back at once, and only once', () => {
  const before = regionStats().allocatedBytes;
  const region = Region.allocate(3 * MIB);
  expect(regionStats().allocatedBytes).toBe(before + 3 * MIB);
  region.free();
  region.free();
  expect(regionStats().allocatedBytes).toBe(before);
  expect(() => region.bytes).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
});

test('a freed region is refused by jobs, by name', async () => {
  const [freed, live] = [Region.allocate(64), Region.allocate(64)];
  freed.free();
  const at = (region: Region) => ({ region, offsetBytes: 0, rowStride: 2, transposed: false });
  const job = {
    m: 2,
    n: 2,
    k: 2,
    a: at(live),
    b: at(freed),
    c: at(Region.allocate(64)),
    accumulate: false,
    threads: 1,
  };
  await expect(matmul(job)).rejects.toMatchObject({
    code: 'SHAPE_MISMATCH',
    details: { field: 'b.region', value: 'freed' },
  });
});

test('a view keeps the memory of a freed region until it is collected', async () => {
  const before = regionStats().allocatedBytes;
  let view: Uint8Array | null = null;
  {
    const region = Region.allocate(5 * MIB);
    view = region.bytes.fill(7);
    region.free();
  }
  const next = Region.allocate(5 * MIB);
  expect(next.bytes.every((byte) => byte === 0)).toBe(true);
  next.bytes.fill(9);
  expect(view.every((byte) => byte === 7)).toBe(true);
  expect(regionStats().allocatedBytes).toBe(before + 10 * MIB);
  view = null;
  next.free();
  await untilCollected(() => regionStats().allocatedBytes <= before);
});

test('a region that nobody refers to is collected', async () => {
  const before = regionStats().allocatedBytes;
  for (let i = 0; i < 8; i++) Region.allocate(MIB).bytes.fill(i);
  expect(regionStats().allocatedBytes).toBe(before + 8 * MIB);
  await untilCollected(() => regionStats().allocatedBytes <= before);
});

test('a job holds the memory that it was lent until it settles', async () => {
  const before = regionStats().allocatedBytes;
  const region = Region.allocate(MIB);
  const at = (index: number) => ({ region, offsetBytes: index * 16, rowStride: 2, transposed: false });
  const job = { m: 2, n: 2, k: 2, a: at(0), b: at(1), c: at(2), accumulate: false, threads: 1 };
  // The first product is long enough that the second one waits for it.
  const [m, n, k] = [64, 64, 2 ** 16];
  const long = { ...job, m, n, k, a: { ...at(0), rowStride: 0 }, b: { ...at(0), rowStride: 0 } };
  const c = { region: Region.allocate(MIB), offsetBytes: 0, rowStride: n, transposed: false };
  const jobs = [matmul({ ...long, a: { ...long.a, transposed: true }, c }), matmul(job)];
  region.free();
  c.region.free();
  expect(regionStats().allocatedBytes).toBe(before + 2 * MIB);
  await Promise.all(jobs);
  expect(regionStats().allocatedBytes).toBe(before);
});
