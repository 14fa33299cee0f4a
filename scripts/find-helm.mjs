// For tests: the path of Helm, from PATH or built from its sources with Go: `node scripts/find-helm.mjs --install`, a few minutes once.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { keptFolder, keptPath } from './kept-folder.mjs';
import { folderOnPath } from './system-packages.mjs';

const VERSION = 'v3.19.0';
const NAME = `helm-${VERSION}`;

/** Null when there is none. */
export function findHelm() {
  const folder = folderOnPath('helm') ?? keptPath(NAME);
  return existsSync(folder) ? join(folder, 'helm') : null;
}

function build(folder) {
  const { status, error } = spawnSync('go', ['install', `helm.sh/helm/v3/cmd/helm@${VERSION}`], {
    env: { ...process.env, GOBIN: folder },
    stdio: ['ignore', 2, 2],
  });
  if (status === 0) return;
  const reason = error?.message ?? status;
  throw new Error(`Helm was not built (${reason}). Install it, https://helm.sh/docs/intro/install, or Go`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (process.argv.includes('--install') && findHelm() === null) keptFolder(NAME, build);
    const helm = findHelm();
    if (helm === null) throw new Error('helm is not installed; --install builds it with Go');
    console.log(helm);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
