import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { watchLauncher } from './orphan.js';

const CHILD = `
  import { watchLauncher } from '@ulysses/runtime';
  const watching = watchLauncher(() => {
    process.stdout.write('orphaned', () => process.exit(0));
  });
  process.stdout.write('watching: ' + watching + '\\n');
  setInterval(() => undefined, 1000);
`;

/** Forks CHILD with an IPC channel and lives on. */
const LAUNCHER = `
  import { spawn } from 'node:child_process';
  spawn(process.execPath, ['--input-type=module', '--eval', process.argv[1]], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
`;

describe('a child process', () => {
  it('hears that its launcher was killed with SIGKILL', async () => {
    const launcher = spawn(process.execPath, ['--input-type=module', '--eval', LAUNCHER, CHILD], {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    launcher.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (text.includes('watching')) launcher.kill('SIGKILL');
    });
    // The child holds the same pipe: it closes when both are gone.
    await once(launcher.stdout, 'close');
    expect(output).toBe('watching: true\norphaned');
  });

  it('without an IPC channel is not watched', () => {
    const child = { channel: undefined, once: () => expect.unreachable() };
    expect(watchLauncher(() => expect.unreachable(), child)).toBe(false);
  });
});
