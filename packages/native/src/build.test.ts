import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const SCRIPT = fileURLToPath(new URL('../scripts/build.mjs', import.meta.url));
const ADDON = fileURLToPath(new URL('../ulysses.node', import.meta.url));

it('an unchanged tree compiles nothing and leaves the addon that is there', () => {
  const before = statSync(ADDON);
  const { status, stderr } = spawnSync(process.execPath, [SCRIPT], { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  expect(stderr).not.toContain('Compiling');
  const after = statSync(ADDON);
  expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs]);
});
