import { open } from 'node:fs/promises';
import { UlyssesError } from '@ulysses/errors';
import { createRandom, shuffled } from '../model/random.js';
import type { TextFile } from './text-files.js';

/** The part of a file that one step trains on. */
export interface Chunk {
  readonly path: string;
  readonly begin: number;
  readonly length: number;
}

/** Cuts each file every `maxLength` bytes; what is left over keeps its odd length. */
export function cutChunks(files: readonly TextFile[], maxLength: number): Chunk[] {
  const chunks: Chunk[] = [];
  for (const { path, sizeBytes } of files) {
    for (let begin = 0; begin < sizeBytes; begin += maxLength) {
      chunks.push({ path, begin, length: Math.min(maxLength, sizeBytes - begin) });
    }
  }
  return chunks;
}

/** The chunks of `steps` steps: all of them in random order, then all again in another, until there are enough. */
export function drawChunks(chunks: readonly Chunk[], steps: number, seed: number): Chunk[] {
  const random = createRandom(seed);
  const drawn: Chunk[] = [];
  while (drawn.length < steps) drawn.push(...shuffled(chunks, random));
  return drawn.slice(0, steps);
}

/** The bytes of a chunk. Throws CONFIG when the file has become shorter. */
export async function readChunk({ path, begin, length }: Chunk): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, begin);
    if (bytesRead < length) throw new UlyssesError('CONFIG', `${path} became shorter during the training`);
    return buffer;
  } finally {
    await file.close();
  }
}
