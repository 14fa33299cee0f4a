// Makes a Python environment of exact versions, once, and prints the path of its python.
//
//   node scripts/python-venv.mjs         what packages/torch/requirements/torch.txt lists
//   node scripts/python-venv.mjs base    the same without PyTorch
//
// It lies in ULYSSES_CACHE, or ~/.cache/ulysses, under a name made from the listed versions and the interpreter: clones of
// this repository share it, and a changed list makes another.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const REQUIREMENTS = resolve(import.meta.dirname, '../packages/torch/requirements');
const OLDEST_PYTHON = [3, 10];

/** Path of the environment's python; what it prints while it installs goes to standard error. */
export function pythonOf(name = 'torch') {
  const interpreter = process.env.ULYSSES_PYTHON ?? 'python3';
  const version = versionOf(interpreter);
  const lists = name === 'base' ? ['base'] : ['base', name];
  const key = createHash('sha256')
    .update(lists.map((list) => readFileSync(join(REQUIREMENTS, `${list}.txt`))).join('\n'))
    .update(version)
    .digest('hex')
    .slice(0, 16);
  const cache = process.env.ULYSSES_CACHE ?? join(homedir(), '.cache', 'ulysses');
  const folder = join(cache, `python-${name}-${key}`);
  const python = join(folder, 'bin', 'python');
  if (existsSync(python)) return python;

  // Made beside its place and then moved there, so that an interrupted install is never taken for a whole one.
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(cache, { recursive: true });
  try {
    run(interpreter, ['-m', 'venv', unfinished], 'Debian and Ubuntu: apt-get install python3-venv');
    const list = join(REQUIREMENTS, `${name}.txt`);
    const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--quiet'];
    run(join(unfinished, 'bin', 'python'), [...pip, '-r', list], 'is the Python package index reachable?');
    if (!existsSync(folder)) renameSync(unfinished, folder);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return python;
}

function versionOf(interpreter) {
  const source =
    'import sys, sysconfig; print(sys.version_info[0], sys.version_info[1], sysconfig.get_platform())';
  const { status, stdout } = spawnSync(interpreter, ['-c', source], { encoding: 'utf8' });
  const [major, minor] = (stdout ?? '').split(' ').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_PYTHON;
  if (status !== 0 || major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
    throw new Error(
      `${interpreter} is not Python ${OLDEST_PYTHON.join('.')} or newer; set ULYSSES_PYTHON to one that is`,
    );
  }
  return stdout;
}

function run(command, args, hint) {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')} failed (${error?.message ?? status}). ${hint}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(pythonOf(process.argv[2]));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
