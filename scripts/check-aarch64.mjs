// Type-checks the Rust crates for aarch64, where the standard library of that target is there or rustup can fetch it; says so where not.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const TARGET = 'aarch64-unknown-linux-gnu';
const FETCH_MS = 180_000;
const manifest = fileURLToPath(new URL('../packages/native/Cargo.toml', import.meta.url));

const added = spawnSync('rustup', ['target', 'add', TARGET], { encoding: 'utf8', timeout: FETCH_MS });
if (added.status !== 0) {
  const reason = added.error?.message ?? added.stderr.trim().split('\n').at(-1);
  console.log(`NOT checked for ${TARGET}: its standard library could not be installed (${reason})`);
} else {
  const check = [
    'check',
    '--quiet',
    '--locked',
    '--workspace',
    '--target',
    TARGET,
    '--manifest-path',
    manifest,
  ];
  // Types need no machine code: where there is no compiler of C for the target, ring's is left out.
  const env = { CC_aarch64_unknown_linux_gnu: 'true', AR_aarch64_unknown_linux_gnu: 'true', ...process.env };
  process.exitCode = spawnSync('cargo', check, { stdio: 'inherit', env }).status ?? 1;
}
