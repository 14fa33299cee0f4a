// For tests: the path of Prometheus's promtool, from PATH or fetched without root through the system's package manager.
import { join } from 'node:path';
import { folderOnPath, unpackedPackages } from './system-packages.mjs';

export function findPromtool() {
  const folder = folderOnPath('promtool');
  if (folder !== null) return join(folder, 'promtool');
  const hint = 'Install it, for example: apt-get install prometheus, brew install prometheus';
  return join(
    unpackedPackages('promtool', () => ['prometheus'], hint),
    'usr/bin/promtool',
  );
}
