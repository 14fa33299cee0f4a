// Folders in ULYSSES_CACHE, or ~/.cache/ulysses, that clones of this repository share.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export function keptPath(name) {
  return join(process.env.ULYSSES_CACHE ?? join(homedir(), '.cache', 'ulysses'), name);
}

/** Its path; made beside its place and then moved there, so that an interrupted `make` is never taken for a whole one. */
export function keptFolder(name, make) {
  const folder = keptPath(name);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    make(unfinished);
    if (!existsSync(folder)) renameSync(unfinished, folder);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return folder;
}
