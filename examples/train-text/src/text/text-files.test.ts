import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cutChunks, drawChunks, readChunk } from './chunks.js';
import { findTextFiles } from './text-files.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'train-text-'));
});

afterEach(() => rm(folder, { recursive: true }));

async function write(path: string, content: string | Uint8Array): Promise<string> {
  const file = join(folder, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

test('a folder gives its text files in name order, without what is built, hidden, empty, binary or linked', async () => {
  await write('b.md', 'bb');
  await write('a/z.txt', 'z');
  await write('a/deep/er/x.txt', 'xxx');
  await write('B.md', 'B');
  await write('empty.txt', '');
  await write('image.png', Uint8Array.of(137, 80, 0, 1));
  await write('.hidden/secret.txt', 's');
  await write('.dot', 'd');
  for (const name of ['node_modules', 'dist', 'target']) await write(`a/${name}/built.txt`, 'built');
  await symlink(folder, join(folder, 'loop'));
  const files = await findTextFiles(folder);
  expect(files.map(({ path, sizeBytes }) => [relative(folder, path), sizeBytes])).toEqual([
    ['B.md', 1],
    ['a/deep/er/x.txt', 3],
    ['a/z.txt', 1],
    ['b.md', 2],
  ]);
});

test('a file that is named is taken as it is, bytes that are not text included', async () => {
  const path = await write('any.bin', Uint8Array.of(0, 255, 7));
  expect(await findTextFiles(path)).toEqual([{ path, sizeBytes: 3 }]);
});

test('an input that is missing or holds no text is refused by name', async () => {
  await expect(findTextFiles(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'CONFIG' });
  await expect(findTextFiles(join(folder, 'nowhere'))).rejects.toThrow(/--input is .*nowhere/);
  await expect(findTextFiles(folder)).rejects.toThrow('holds no text');
});

test('a long file is cut at the limit and the rest keeps its odd length; no byte is lost', async () => {
  const bytes = Uint8Array.from({ length: 23 }, (_, index) => index);
  const path = await write('long.txt', bytes);
  const chunks = cutChunks(await findTextFiles(path), 10);
  expect(chunks.map(({ begin, length }) => [begin, length])).toEqual([
    [0, 10],
    [10, 10],
    [20, 3],
  ]);
  expect(Buffer.concat(await Promise.all(chunks.map(readChunk)))).toEqual(Buffer.from(bytes));
});

test('every chunk is drawn once before one is drawn again, in an order that follows from the seed', () => {
  const chunks = cutChunks([{ path: 'x', sizeBytes: 5 }], 1);
  const drawn = drawChunks(chunks, 12, 3);
  expect(drawn).toHaveLength(12);
  expect(new Set(drawn.slice(0, 5))).toEqual(new Set(chunks));
  expect(new Set(drawn.slice(5, 10))).toEqual(new Set(chunks));
  expect(drawChunks(chunks, 12, 3)).toEqual(drawn);
  expect(drawChunks(chunks, 12, 4)).not.toEqual(drawn);
});

test('a file that became shorter is an error, not a short text', async () => {
  const path = await write('shrinking.txt', 'abc');
  await expect(readChunk({ path, begin: 1, length: 3 })).rejects.toThrow('became shorter');
});
