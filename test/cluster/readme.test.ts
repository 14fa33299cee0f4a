import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CLI = `${ROOT}services/cli/dist/main.js`;

it('the example of the README runs as it stands', async () => {
  const readme = await readFile(`${ROOT}README.md`, 'utf8');
  const example = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? '';
  expect(example).toContain('UlyssesContextAttention');
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  const { outputText } = ts.transpileModule(example, { compilerOptions: options });
  // Inside the repository, so that it finds the packages as a user's program would.
  const file = `${ROOT}.cache/readme-example/main.mjs`;
  await mkdir(`${ROOT}.cache/readme-example`, { recursive: true });
  await writeFile(file, outputText);
  const command = [
    CLI,
    'run',
    '--context-parallel-size',
    '4',
    '--log-level',
    'error',
    '--',
    process.execPath,
    file,
  ];
  const { stdout } = await promisify(execFile)(process.execPath, command, { timeout: 50_000 });
  // Six heads on four ranks, then the sizes of dq, dk and dv.
  const numbers = (stdout.match(/[\d.]+/g) ?? []).map(Number);
  expect(numbers.slice(0, 4).reduce((sum, heads) => sum + heads, 0)).toBeCloseTo(6);
  expect(numbers.slice(4)).toEqual([1021 * 6 * 64, 1021 * 2 * 64, 1021 * 2 * 64]);
});
