import { execFile, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Of the layer without PyTorch, those that need no cluster: `npm run test:python` runs all. */
const FILES = ['convert', 'fold', 'plan', 'sends', 'settle', 'vectors', 'wire'].map(
  (name) => `packages/torch/tests/client/test_${name}.py`,
);
/** Makes the environment when it is not there yet. */
const LIMIT_MS = 300_000;

const USABLE = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))';
const hasPython = spawnSync(process.env.ULYSSES_PYTHON ?? 'python3', ['-c', USABLE]).status === 0;

describe('the Python client', () => {
  it.skipIf(!hasPython)(
    'has the plans, plan ids, wire and errors of this one, where Python 3.10 with venv is installed',
    async () => {
      const pytest = ['-m', 'pytest', '-q', '-c', 'packages/torch/pyproject.toml', ...FILES];
      const command = ['scripts/python-venv.mjs', 'base', ...pytest];
      const options = { cwd: ROOT, timeout: LIMIT_MS, encoding: 'utf8' } as const;
      // A rejection holds what pytest printed.
      const { stdout } = await promisify(execFile)(process.execPath, command, options);
      expect(stdout).toMatch(/^[1-9][0-9]* passed in /m);
    },
    LIMIT_MS,
  );
});
