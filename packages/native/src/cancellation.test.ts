import { expect, test } from 'vitest';
import { Region, attentionForward, matmul } from './index.js';

/** Far more work than a test waits for, so that only a cancel can end it. */
function endless(signal: AbortSignal): Promise<void> {
  const [rows, kvRows, headSize] = [2 ** 16, 2 ** 18, 64];
  // All rows that are read are the same one.
  const read = { region: Region.allocate(headSize * 4), offsetBytes: 0, rowStride: 0 };
  const unit = {
    rows,
    kvRows,
    bounds: Int32Array.from({ length: 2 * rows }, (_, i) => (i % 2) * kvRows),
    q: read,
    k: read,
    v: read,
    out: { region: Region.allocate(rows * headSize * 4), offsetBytes: 0, rowStride: headSize },
    lse: { region: Region.allocate(rows * 4), offsetBytes: 0, rowStride: 1 },
  };
  return attentionForward({ dtype: 'f32', headSize, scale: 1, threads: 2 }, [unit], { signal });
}

function small(signal?: AbortSignal): Promise<void> {
  const at = () => ({ region: Region.allocate(16), offsetBytes: 0, rowStride: 2, transposed: false });
  return matmul({ m: 2, n: 2, k: 2, a: at(), b: at(), c: at(), accumulate: false, threads: 1 }, { signal });
}

test('a running job ends with CANCELLED, and the next one runs', async () => {
  const controller = new AbortController();
  const running = endless(controller.signal);
  const next = small();
  controller.abort(new Error('changed my mind'));
  await expect(running).rejects.toMatchObject({ code: 'CANCELLED', cause: { message: 'changed my mind' } });
  await next;
});

test('a queued job ends at once, while the one before it still runs', async () => {
  const [first, second] = [new AbortController(), new AbortController()];
  let settled = false;
  const running = endless(first.signal).finally(() => (settled = true));
  running.catch(() => {});
  const queued = small(second.signal);
  second.abort();
  await expect(queued).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(settled).toBe(false);
  first.abort();
  await expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('a signal that is aborted already starts nothing', async () => {
  await expect(small(AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('a signal that is aborted afterwards changes nothing', async () => {
  const controller = new AbortController();
  await small(controller.signal);
  controller.abort();
  await small();
});
