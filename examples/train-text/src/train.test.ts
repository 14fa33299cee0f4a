import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLocalAttention } from './attention/local-attention.js';
import { cutChunks, drawChunks, type Chunk } from './text/chunks.js';
import { train } from './train.js';

const shape = { layers: 1, heads: 3, kvHeads: 1, headSize: 8, maxLength: 50 };
const settings = { shape, seed: 5, learningRate: 0.01, threads: 1 };
const steps = 20;
let folder: string;
let chunks: Chunk[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'train-text-'));
  const path = join(folder, 'tiny.txt');
  const text = 'the cat sat on the mat. '.repeat(9);
  await writeFile(path, text);
  chunks = drawChunks(cutChunks([{ path, sizeBytes: text.length }], shape.maxLength), steps, settings.seed);
});

afterAll(() => rm(folder, { recursive: true }));

async function losses(signal: AbortSignal): Promise<number[]> {
  const results: number[] = [];
  for await (const { loss } of train(
    settings,
    chunks,
    createLocalAttention(shape, { dtype: 'f32', window: null }, 1),
    signal,
  ))
    results.push(loss);
  return results;
}

test('20 steps on a tiny text start at the loss of a guess and take most of it away', async () => {
  const curve = await losses(new AbortController().signal);
  expect(curve).toHaveLength(steps);
  expect(curve[0]).toBeCloseTo(Math.log(256), 0);
  expect(curve.at(-1)).toBeLessThan(curve[0]! / 2);
});

test('the same seed gives the same losses, bit for bit', async () => {
  const { signal } = new AbortController();
  expect(await losses(signal)).toEqual(await losses(signal));
});

test('an aborted training ends with the reason', async () => {
  await expect(losses(AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
});
