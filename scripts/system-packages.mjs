// For tests: Debian's packages, unpacked without root into .cache/NAME, beside the system and not into it.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';

/** The folder of `program` on PATH; null when it is not there. */
export function folderOnPath(program) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.find((folder) => existsSync(join(folder, program))) ?? null;
}

/** The cache folder with the unpacked packages, fetched when it is not there; `names` gets a function that runs a command in it. */
export function unpackedPackages(name, names, hint) {
  const cache = resolve(import.meta.dirname, '../.cache', name);
  if (existsSync(cache)) return cache;
  const folder = `${cache}.${process.pid}`;
  try {
    mkdirSync(folder, { recursive: true });
    const run = (command, ...args) =>
      execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
    run('apt-get', 'download', ...names(run));
    for (const archive of readdirSync(folder).filter((each) => each.endsWith('.deb'))) {
      run('dpkg', '-x', archive, '.');
      rmSync(join(folder, archive));
    }
    // Atomically: another test process may do the same.
    try {
      renameSync(folder, cache);
    } catch (error) {
      if (!existsSync(cache)) throw error;
    }
    return cache;
  } catch (error) {
    throw new Error(
      `${name} is not on PATH, and apt-get could not fetch it: ${error.stderr || error.message}\n${hint}`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
