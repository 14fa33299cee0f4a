// Interprets the kernels' unit tests with Miri, which sees every access outside of its memory and every other breach of
// Rust's rules: in the portable kernels, and in the tiles of the other instruction sets computed in arrays. Says so where
// the pinned nightly cannot be installed; guard pages around what tests allocate are there anyway.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const NIGHTLY = 'nightly-2026-05-20';
const FETCH_MS = 180_000;
const manifest = fileURLToPath(new URL('../packages/native/Cargo.toml', import.meta.url));

const components = ['--profile', 'minimal', '--component', 'miri', '--component', 'rust-src'];
const options = { encoding: 'utf8', timeout: FETCH_MS };
const setUp = () => spawnSync('cargo', [`+${NIGHTLY}`, 'miri', 'setup'], options);
let prepared = setUp();
if (prepared.status !== 0) {
  prepared = spawnSync(
    'rustup',
    ['toolchain', 'install', NIGHTLY, '--no-self-update', ...components],
    options,
  );
  if (prepared.status === 0) prepared = setUp();
}
if (prepared.status !== 0) {
  const said = prepared.stderr?.split('\n').find((line) => line.startsWith('error'));
  const reason = prepared.error?.message ?? said ?? `exit ${prepared.status}`;
  console.log(`NOT interpreted by Miri: ${NIGHTLY} could not be installed (${reason})`);
} else {
  const test = ['miri', 'test', '--quiet', '--locked', '--manifest-path', manifest];
  const kernels = ['-p', 'ulysses-kernels', '--lib'];
  process.exitCode =
    spawnSync('cargo', [`+${NIGHTLY}`, ...test, ...kernels], { stdio: 'inherit' }).status ?? 1;
}
