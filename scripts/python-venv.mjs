// Makes a Python environment of exact versions, once, and prints the path of its python: `npm run bench:setup`.
// It lies in ULYSSES_CACHE, or ~/.cache/ulysses, under a name made from the listed versions and the interpreter: clones of
// this repository share it, and a changed list makes another. So does ulysses_native, under a name made from its sources.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { keptFolder } from './kept-folder.mjs';

const HELP = `Usage: node scripts/python-venv.mjs [torch|base] [[--native] ARGUMENT...]

Makes a Python environment of exact versions, once, which takes a minute and downloads PyTorch, and prints the path of its python.

  node scripts/python-venv.mjs              what packages/torch/requirements/torch.txt lists
  node scripts/python-venv.mjs base         the same without PyTorch
  node scripts/python-venv.mjs base -m pytest packages/torch/tests/client
                                            runs its python instead
  node scripts/python-venv.mjs base --native -m pytest ...
                                            with ulysses_native on its path`;

const REQUIREMENTS = resolve(import.meta.dirname, '../packages/torch/requirements');
const ENVIRONMENTS = ['torch', 'base'];
const NATIVE = resolve(import.meta.dirname, '../packages/native');
const PIP_INSTALL = ['-m', 'pip', 'install', '--disable-pip-version-check', '--quiet'];
const OLDEST_PYTHON = [3, 10];
const OLDEST_NATIVE_PYTHON = [3, 11];

/** Path of the environment's python; what it prints while it installs goes to standard error. */
export function pythonOf(name) {
  const interpreter = process.env.ULYSSES_PYTHON ?? 'python3';
  const version = versionOf(interpreter);
  const lists = name === 'base' ? ['base'] : ['base', name];
  const key = createHash('sha256')
    .update(lists.map((list) => readFileSync(join(REQUIREMENTS, `${list}.txt`))).join('\n'))
    .update(version)
    .digest('hex')
    .slice(0, 16);
  const folder = keptFolder(`python-${name}-${key}`, (unfinished) => {
    run(interpreter, ['-m', 'venv', unfinished], 'Debian and Ubuntu: apt-get install python3-venv');
    const list = join(REQUIREMENTS, `${name}.txt`);
    run(
      join(unfinished, 'bin', 'python'),
      [...PIP_INSTALL, '-r', list],
      'is the Python package index reachable?',
    );
  });
  return join(folder, 'bin', 'python');
}

/** Folder that has the package ulysses_native for `python`, which pip builds as it does for users; none for an older python. */
function nativeFor(python) {
  const version = versionOf(python);
  if (isOlder(version, OLDEST_NATIVE_PYTHON)) return '';
  const key = createHash('sha256').update(version);
  for (const path of nativeSources()) key.update(path).update(readFileSync(join(NATIVE, path)));
  return keptFolder(`native-${key.digest('hex').slice(0, 16)}`, (unfinished) => {
    const target = ['--no-deps', '--target', unfinished, join(NATIVE, 'crates/python')];
    run(python, [...PIP_INSTALL, ...target], 'it needs Rust: https://rustup.rs');
  });
}

function nativeSources() {
  const crates = ['crates/dataplane', 'crates/python'].flatMap((crate) =>
    readdirSync(join(NATIVE, crate), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(NATIVE, join(entry.parentPath, entry.name))),
  );
  return ['Cargo.toml', 'Cargo.lock', ...crates.sort()];
}

function versionOf(interpreter) {
  const source =
    'import sys, sysconfig; print(sys.version_info[0], sys.version_info[1], sysconfig.get_platform())';
  const { status, stdout } = spawnSync(interpreter, ['-c', source], { encoding: 'utf8' });
  if (status !== 0 || isOlder(stdout, OLDEST_PYTHON)) {
    throw new Error(
      `${interpreter} is not Python ${OLDEST_PYTHON.join('.')} or newer; set ULYSSES_PYTHON to one that is`,
    );
  }
  return stdout;
}

/** Whether a version, as `versionOf` has it, comes before another. */
function isOlder(version, [oldestMajor, oldestMinor]) {
  const [major, minor] = version.split(' ').map(Number);
  return major < oldestMajor || (major === oldestMajor && minor < oldestMinor);
}

function run(command, args, hint) {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')} failed (${error?.message ?? status}). ${hint}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name = 'torch', ...rest] = process.argv.slice(2);
  if (name === '--help' || name === '-h') {
    console.log(HELP);
    process.exit(0);
  }
  if (!ENVIRONMENTS.includes(name)) {
    console.error(`environment is ${name}, expected one of ${ENVIRONMENTS.join(', ')}`);
    process.exit(2);
  }
  const native = rest[0] === '--native';
  const programArguments = native ? rest.slice(1) : rest;
  try {
    const python = pythonOf(name);
    const env = native ? { ...process.env, PYTHONPATH: nativeFor(python) } : process.env;
    if (programArguments.length === 0) console.log(python);
    else process.exitCode = spawnSync(python, programArguments, { stdio: 'inherit', env }).status ?? 1;
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
