import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UlyssesError } from '@ulysses/errors';

/** A file that is not empty. */
export interface TextFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** Built, installed or locked, not written. Names that begin with a dot are skipped too. */
const SKIPPED_NAMES = new Set(['node_modules', 'dist', 'target', 'package-lock.json', 'Cargo.lock']);
/** A zero byte this early makes a file binary. */
const HEAD_BYTES = 8192;

/**
 * The text files at `input`: a file as it is, or everything below a folder but what is skipped, empty, binary or a
 * link. The order depends on the names alone. Throws CONFIG when there are none.
 */
export async function findTextFiles(input: string): Promise<TextFile[]> {
  const found = await stat(input).catch((cause: unknown) => {
    throw new UlyssesError('CONFIG', `--input is ${input}, expected a readable file or folder`, {}, cause);
  });
  const files = found.isDirectory() ? await filesBelow(input) : [{ path: input, sizeBytes: found.size }];
  const texts = files.filter(({ sizeBytes }) => sizeBytes > 0);
  if (texts.length === 0) throw new UlyssesError('CONFIG', `--input is ${input}, which holds no text`);
  return texts;
}

async function filesBelow(folder: string): Promise<TextFile[]> {
  const files: TextFile[] = [];
  const entries = await readdir(folder, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.name.startsWith('.') || SKIPPED_NAMES.has(entry.name)) continue;
    if (entry.isDirectory()) files.push(...(await filesBelow(path)));
    if (entry.isFile() && !(await isBinary(path))) files.push({ path, sizeBytes: (await stat(path)).size });
  }
  return files;
}

async function isBinary(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead).includes(0);
  } finally {
    await file.close();
  }
}
