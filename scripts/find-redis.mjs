// For tests: redis-server and redis-cli, from PATH or fetched without root through the system's package manager.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { folderOnPath, unpackedPackages } from './system-packages.mjs';

/** The folder of redis-server and redis-cli, and those of the libraries that came with them. */
export function findRedis() {
  const folder = folderOnPath('redis-server');
  if (folder !== null) return { programs: folder, libraries: null };
  const cache = unpackedPackages('redis', redisPackages, HINT);
  const lib = join(cache, 'usr/lib');
  const folders = readdirSync(lib, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const libraries = [lib, ...folders.map(({ name }) => join(lib, name))].join(delimiter);
  return { programs: join(cache, 'usr/bin'), libraries };
}

const HINT = 'Install it, for example: apt-get install redis-server, dnf install redis, brew install redis';

/** The server, and the libraries that are missing. */
function redisPackages(run) {
  const depends = run('apt-cache', 'depends', 'redis-tools');
  const named = [...depends.matchAll(/^ [ |]Depends: (lib\S+)$/gm)].map(([, name]) => name);
  return ['redis-server', 'redis-tools', ...named.filter((name) => !isInstalled(name))];
}

function isInstalled(library) {
  try {
    return execFileSync('dpkg-query', ['-W', '-f', '${db:Status-Status}', library], {
      stdio: 'pipe',
    }).includes('installed');
  } catch {
    return false;
  }
}
