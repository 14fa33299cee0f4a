// Fails when packages/rpc/src/generated is not what proto/ulysses/v1 generates now.
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GENERATED, generate } from './generate-proto.mjs';

const fresh = await mkdtemp(join(tmpdir(), 'generated-'));
try {
  await generate(fresh);
  const [committed, expected] = await Promise.all([contents(GENERATED), contents(fresh)]);
  const drifted = [...new Set([...committed.keys(), ...expected.keys()])]
    .filter((path) => committed.get(path) !== expected.get(path))
    .sort();
  for (const path of drifted) {
    const how = !committed.has(path)
      ? 'missing'
      : !expected.has(path)
        ? 'not generated any more'
        : 'out of date';
    console.error(`packages/rpc/src/generated/${path} is ${how}`);
  }
  if (drifted.length > 0) {
    console.error('run: node scripts/generate-proto.mjs');
    process.exitCode = 1;
  } else console.log(`generated: ${expected.size} files match proto/ulysses/v1`);
} finally {
  await rm(fresh, { recursive: true, force: true });
}

/** Text of every file under a folder, by path relative to it. */
async function contents(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
  return new Map(
    await Promise.all(paths.map(async (path) => [path, await readFile(join(folder, path), 'utf8')])),
  );
}
