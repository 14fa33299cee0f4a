// For tests: the path of Helm, from PATH or built from its sources with Go: `node scripts/find-helm.mjs --install`, a few minutes once.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { folderOnPath } from './system-packages.mjs';

const VERSION = 'v3.19.0';
const CACHE = process.env.ULYSSES_CACHE ?? join(homedir(), '.cache', 'ulysses');
const FOLDER = join(CACHE, `helm-${VERSION}`);

/** Null when there is none. */
export function findHelm() {
  const folder = folderOnPath('helm');
  if (folder !== null) return join(folder, 'helm');
  const built = join(FOLDER, 'helm');
  return existsSync(built) ? built : null;
}

function install() {
  const unfinished = `${FOLDER}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    const { status, error } = spawnSync('go', ['install', `helm.sh/helm/v3/cmd/helm@${VERSION}`], {
      env: { ...process.env, GOBIN: unfinished },
      stdio: ['ignore', 2, 2],
    });
    if (status !== 0) {
      throw new Error(
        `Helm was not built (${error?.message ?? status}). Install it, https://helm.sh/docs/intro/install, or Go`,
      );
    }
    if (!existsSync(FOLDER)) renameSync(unfinished, FOLDER);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (process.argv.includes('--install') && findHelm() === null) install();
    const helm = findHelm();
    if (helm === null) throw new Error('helm is not installed; --install builds it with Go');
    console.log(helm);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
