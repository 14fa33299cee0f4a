import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const SMALL = ['--layers', '1', '--heads', '5', '--kv-heads', '1', '--head-size', '8', '--max-length', '67'];
let folder: string;
let running: ChildProcess | null = null;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'train-text-'));
  await writeFile(join(folder, 'one.txt'), 'a text of some length. '.repeat(7));
  await writeFile(join(folder, 'two.txt'), 'x');
});

afterEach(() => {
  if (running?.exitCode === null) running.kill();
});

afterAll(() => rm(folder, { recursive: true }));

/** The trainer as its users start it: real processes, a real cluster. */
function start(...flags: string[]): {
  trainer: ChildProcess;
  printed: () => string;
  saw: (text: RegExp) => Promise<string>;
} {
  const trainer = spawn(process.execPath, [MAIN, '--input', folder, ...SMALL, ...flags]);
  running = trainer;
  const lines: string[] = [];
  const matching = (text: RegExp): string | undefined => text.exec(lines.join('\n'))?.[1];
  for (const input of [trainer.stdout, trainer.stderr]) {
    createInterface({ input }).on('line', (line) => {
      lines.push(line);
      trainer.emit('printed');
    });
  }
  return {
    trainer,
    printed: () => lines.join('\n'),
    async saw(text) {
      for (;;) {
        const found = matching(text);
        if (found !== undefined) return found;
        if (trainer.exitCode !== null) throw new Error(`the trainer ended:\n${lines.join('\n')}`);
        await Promise.race([once(trainer, 'printed'), once(trainer, 'close')]);
      }
    },
  };
}

test('a training on three ranks has the losses of one device, at lengths that do not divide', async () => {
  const { trainer, printed } = start('--context-parallel-size', '3', '--steps', '4');
  const [exitCode] = (await once(trainer, 'close')) as [number];
  expect(exitCode, printed()).toBe(0);
  expect(
    printed().match(/^step \d\/4 .*loss \d.*gather +(67|27|1) .*exchanged .*padding avoided/gm),
  ).toHaveLength(4);
  expect(printed()).toMatch(/gather +1 /);
  const [, difference] = /^largest difference: (\S+)$/m.exec(printed())!;
  expect(Number(difference)).toBeLessThan(5e-5);
});

test('a training in bf16 over packed rows and a window has the losses of one device', async () => {
  const form = ['--dtype', 'bf16', '--layout', 'thd', '--window', '16'];
  const { trainer, printed } = start('--context-parallel-size', '3', '--steps', '4', ...form);
  const [exitCode] = (await once(trainer, 'close')) as [number];
  expect(exitCode, printed()).toBe(0);
  const [, difference] = /^largest difference: (\S+)$/m.exec(printed())!;
  expect(Number(difference)).toBeLessThan(2e-2);
});

test('with --keep-serving others can train on the cluster; Ctrl-C takes it down', async () => {
  const { trainer, saw } = start(
    '--keep-serving',
    '--steps',
    '1',
    '--no-compare',
    '--context-parallel-size',
    '2',
  );
  const address = await saw(/serves at ([\d.:]+);/);
  const other = start('--address', address, '--steps', '2');
  expect((await once(other.trainer, 'close'))[0], other.printed()).toBe(0);
  trainer.kill('SIGINT');
  expect((await once(trainer, 'close'))[0]).toBe(0);
  const [host, port] = address.split(':') as [string, string];
  await expect(once(connect(Number(port), host), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('Ctrl-C during the training stops it and its cluster', async () => {
  const { trainer, saw, printed } = start('--steps', '100000', '--context-parallel-size', '2');
  await saw(/^step +(2)\//m);
  trainer.kill('SIGINT');
  // Its outputs close when the last process that holds them has ended.
  expect((await once(trainer, 'close'))[0]).toBe(130);
  expect(printed()).toMatch(/interrupted$/);
});

test('a flag that the cluster refuses ends the trainer with the words of the cluster', async () => {
  const { trainer, printed } = start('--context-parallel-algo', 'megatron_cp_algo');
  expect((await once(trainer, 'close'))[0]).toBe(1);
  expect(printed()).toMatch(/--context-parallel-algo is "megatron_cp_algo", expected .*ulysses_cp_algo/);
});
