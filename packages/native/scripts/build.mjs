// Builds the native core and puts it at packages/native/ulysses.node. Cargo decides what is out of date, so an
// unchanged tree costs one `cargo build` that compiles nothing.
import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PACKAGE = 'ulysses-addon';
const root = dirname(dirname(fileURLToPath(import.meta.url)));

function fail(message, status = 1) {
  console.error(`\npackages/native: ${message}`);
  process.exit(status);
}

/** First line that a program prints for `args`, or null when it cannot be run. */
function firstLine(program, args) {
  const { error, stdout } = spawnSync(program, args, { cwd: root, encoding: 'utf8' });
  return error === undefined ? stdout.split('\n')[0] : null;
}

/** Version as a number that compares, for example 1.88 as 1088. */
function comparable(version) {
  const [, major, minor] = /(\d+)\.(\d+)/.exec(version) ?? [0, 0, 0];
  return Number(major) * 1000 + Number(minor);
}

/** What to install, when a missing or old tool may be why cargo failed; null otherwise. */
function adviceAfterFailure() {
  const [, required] = /^rust-version = "(.+)"$/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'));
  const rustc = firstLine('rustc', ['--version']);
  if (rustc === null) {
    return 'rustc was not found. Install Rust: curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh';
  }
  if (comparable(rustc) < comparable(required)) {
    return `${rustc} is too old, the native core needs ${required} or newer. Update it: rustup update stable`;
  }
  if (firstLine('cc', ['--version']) === null) {
    return 'no C linker (cc) was found. Install one: apt-get install build-essential, or dnf install gcc, or xcode-select --install';
  }
  return null;
}

/** Runs cargo and returns the path of the library that it built. */
function build() {
  const args = ['build', '--release', '--locked', '--package', PACKAGE];
  const { error, status, signal, stdout } = spawnSync(
    'cargo',
    [...args, '--message-format=json-render-diagnostics'],
    { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28 },
  );
  if (error?.code === 'ENOENT') {
    fail(
      'cargo was not found on PATH. Install Rust: curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh',
    );
  }
  if (error !== undefined) fail(`cargo could not be run: ${error.message}`);
  if (status !== 0) {
    const ended = signal === null ? `with status ${status}` : `by ${signal}`;
    fail(adviceAfterFailure() ?? `cargo ${args.join(' ')} ended ${ended}`, status ?? 1);
  }
  const library = stdout
    .split('\n')
    .filter((line) => line.includes('"compiler-artifact"'))
    .map((line) => JSON.parse(line))
    .find(({ target }) => target.name === PACKAGE.replace('-', '_') && target.kind.includes('cdylib'));
  if (library === undefined) fail(`cargo reported no cdylib of ${PACKAGE}`);
  return library.filenames[0];
}

function contents(path) {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Copies by rename, so that the target gets a new inode: overwriting a mapped library crashes the processes that run it. */
function install(library, target) {
  if (contents(target)?.equals(readFileSync(library))) return;
  const fresh = `${target}.${process.pid}`;
  try {
    copyFileSync(library, fresh);
    renameSync(fresh, target);
  } finally {
    rmSync(fresh, { force: true });
  }
}

install(build(), join(root, 'ulysses.node'));
