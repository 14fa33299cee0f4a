import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** Leaves one job running that outlasts the process by far, and one waiting. */
const BUSY = `
  const { Region, attentionForward, matmul } = await import('@ulysses/native');
  const [rows, kvRows, headSize] = [2 ** 16, 2 ** 18, 64];
  const read = { region: Region.allocate(headSize * 4), offsetBytes: 0, rowStride: 0 };
  const bounds = Int32Array.from({ length: 2 * rows }, (_, i) => (i % 2) * kvRows);
  const endless = () => {
    const out = { region: Region.allocate(rows * headSize * 4), offsetBytes: 0, rowStride: headSize };
    const lse = { region: Region.allocate(rows * 4), offsetBytes: 0, rowStride: 1 };
    const unit = { rows, kvRows, bounds, q: read, k: read, v: read, out, lse };
    return attentionForward({ dtype: 'f32', headSize, scale: 1, threads: 2 }, [unit]);
  };
  const at = () => ({ region: Region.allocate(16), offsetBytes: 0, rowStride: 2, transposed: false });
  const first = matmul({ m: 2, n: 2, k: 2, a: at(), b: at(), c: at(), accumulate: false, threads: 1 });
  endless();
  endless();
  // The queue turns to the next job as soon as this one is done.
  await first;
`;

/** Leaves a transfer between two planes half way. */
const SENDING = `
  const { Region, TensorPlane } = await import('@ulysses/native');
  const key = { job: 'j', session: 's', call: 0, pass: 'forward', attempt: 0 };
  const [from, to] = [{ role: 'rank', index: 0 }, { role: 'rank', index: 1 }];
  let arrived;
  const first = new Promise((resolve) => (arrived = resolve));
  const receiver = await TensorPlane.open({
    listen: '127.0.0.1:0',
    onEvent: ({ kind }) => { if (kind === 'granule') arrived(); },
  });
  const sender = await TensorPlane.open({ listen: null, onEvent: () => {} });
  await sender.connectRank('to', receiver.address, 'rank/0/m');
  const rowBytes = 2 ** 20;
  const segments = () => {
    const region = Region.allocate(64 * rowBytes);
    const place = { region, rows: 1, rowBytes, rowStrideBytes: rowBytes };
    return Array.from({ length: 64 }, (_, i) => ({ ...place, offsetBytes: i * rowBytes, granule: i }));
  };
  const step = { key, epoch: 0, relayBytes: 0 };
  const receives = [{ source: from, tensor: 'q', segments: segments() }];
  receiver.registerStep({ ...step, self: to, receives, routes: [], sendBytes: 0 });
  const routes = [{ destination: to, link: 'to' }];
  sender.registerStep({ ...step, self: from, receives: [], routes, sendBytes: 64 * rowBytes });
  sender.send(key, to, 'q', 0, segments());
  await first;
`;

/** Runs a script in a process of its own, inside this package so that it finds it by name. */
async function run(script: string) {
  const args = ['--input-type=module', '--eval', script];
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => (output += text));
  }
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, output };
}

const CLEAN = { code: 0, signal: null, output: '' };

test('process.exit with a job running and one waiting is clean', async () => {
  expect(await run(`${BUSY} process.exit(0);`)).toEqual(CLEAN);
});

test('an uncaught error with a job running ends the process as it would without', async () => {
  expect(await run(`${BUSY} throw new Error('the program is wrong');`)).toMatchObject({
    code: 1,
    signal: null,
  });
});

test.each([
  ['job', BUSY],
  ['transfer', SENDING],
])('terminating a worker with a %s under way ends its threads and leaves the rest alone', async (_, work) => {
  const worker = `${work} (await import('node:worker_threads')).parentPort.postMessage('under way');`;
  const script = `
    import { once } from 'node:events';
    import { existsSync, readFileSync, readdirSync } from 'node:fs';
    import { setImmediate } from 'node:timers/promises';
    import { Worker } from 'node:worker_threads';
    import { Region, matmul } from '@ulysses/native';
    for (let i = 0; i < 3; i++) {
      const worker = new Worker(${JSON.stringify(`(async () => {${worker}})()`)}, { eval: true });
      await once(worker, 'message');
      await worker.terminate();
    }
    // Linux lists a process's threads here; one that was joined may linger for a moment.
    const tasks = '/proc/self/task';
    const threads = () => (existsSync(tasks) ? readdirSync(tasks) : []);
    const name = (thread) =>
      existsSync(tasks + '/' + thread) ? readFileSync(tasks + '/' + thread + '/comm', 'utf8') : '';
    while (threads().some((thread) => name(thread).startsWith('ulysses'))) await setImmediate();
    const at = () => ({ region: Region.allocate(16), offsetBytes: 0, rowStride: 2, transposed: false });
    await matmul({ m: 2, n: 2, k: 2, a: at(), b: at(), c: at(), accumulate: false, threads: 1 });
  `;
  expect(await run(script)).toEqual(CLEAN);
});

test('process.exit with a transfer under way is clean', async () => {
  expect(await run(`${SENDING} process.exit(0);`)).toEqual(CLEAN);
});

test('a process ends by itself when its planes are closed, with a transfer under way', async () => {
  expect(await run(`${SENDING} await sender.close(); await receiver.close();`)).toEqual(CLEAN);
});

test('a plane that listens keeps its process alive, one that only dials does not', async () => {
  const closing = (listen: string | null) => `
    import { TensorPlane } from '@ulysses/native';
    const plane = await TensorPlane.open({ listen: ${JSON.stringify(listen)}, onEvent: () => {} });
    // Fires only if something else keeps the process alive for so long.
    setTimeout(() => { console.log('alive'); plane.close(); }, 100).unref();
  `;
  expect(await run(closing('127.0.0.1:0'))).toEqual({ ...CLEAN, output: 'alive\n' });
  expect(await run(closing(null))).toEqual(CLEAN);
});

test('a process ends by itself when its jobs are done', async () => {
  const script = `
    import { Region, matmul } from '@ulysses/native';
    const at = () => ({ region: Region.allocate(16), offsetBytes: 0, rowStride: 2, transposed: false });
    const job = { m: 2, n: 2, k: 2, a: at(), b: at(), c: at(), accumulate: false, threads: 1 };
    await matmul(job);
    await matmul({ ...job, m: -1 }).catch(() => {});
    await matmul(job, { signal: AbortSignal.abort() }).catch(() => {});
  `;
  expect(await run(script)).toEqual(CLEAN);
});
