import { describe, expect, it } from 'vitest';
import { runCli, type Ended } from './cli-process.js';

const words = ['up', 'run', 'plan', 'status', 'trace', 'scale', 'drain', 'rank', 'coordinator'];

async function refused(...args: string[]): Promise<Ended> {
  const ended = await runCli(args);
  expect(ended.exitCode).toBe(2);
  expect(ended.stdout).toEqual([]);
  return ended;
}

describe('ulysses', () => {
  it('names the commands there are when it gets none or another, and exits with 2', async () => {
    const expected = `expected one of ${words.join(', ')}`;
    expect((await refused()).stderr).toEqual([`ulysses: CONFIG: no command is given, ${expected}`]);
    expect((await refused('pu')).stderr).toEqual([`ulysses: CONFIG: "pu" is not a command, ${expected}`]);
  });

  it.each(words)('%s --help has a usage line, options and examples', async (word) => {
    const { exitCode, stdout, stderr } = await runCli([word, '--help']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: [] });
    const text = stdout.join('\n');
    expect(text).toContain(`Usage: ulysses ${word}`);
    expect(text).toMatch(/^ {2}--[a-z-]+ HOST:PORT|^ {2}--heads N/m);
    expect(text).toMatch(/^Examples?:/m);
  });

  it('exits with 2 for options it does not have, a wrong step and what is not available', async () => {
    const unknown = await refused('up', '--context-parallel-size', '1', '--world-size', '4');
    expect(unknown.stderr.join('\n')).toContain(
      '"--world-size" is not an option, expected one of --context-',
    );
    expect(unknown.stderr.join('\n')).toContain('--context-parallel-size is "1", expected an integer from 2');

    const packed = ['--context-parallel-size', '2', '--cu-seqlens', '0,9', '--heads', '7'];
    const shape = await refused('plan', ...packed, '--batch', '2');
    expect(shape.stderr).toEqual([
      'ulysses: SHAPE_MISMATCH: batch is 2, expected 1 in layout thd, whose samples lie on the row axis',
    ]);

    const noCommand = await refused('run', '--context-parallel-size', '2');
    expect(noCommand.stderr.join('\n')).toContain('the command is missing, expected -- COMMAND');
  });

  it('plan --json has the report, the spec, the cuts and every unit', async () => {
    const step = ['--context-parallel-size', '3', '--splits', '9,21,15', '--heads', '8', '--causal'];
    const { exitCode, stdout } = await runCli(['plan', ...step, '--json']);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout.join('\n'))).toMatchObject({
      cpSize: 3,
      owners: 3,
      qRows: 45,
      spec: { qSplits: [9, 21, 15], mask: { right: 0 } },
      cuts: [0, expect.any(Number), expect.any(Number), 8 * 45],
      units: [expect.any(Array), expect.any(Array), expect.any(Array)],
    });
  });

  it('status of an address where nobody listens fails with 1', async () => {
    const { exitCode, stderr } = await runCli(['status', '--address', '127.0.0.1:1']);
    expect(exitCode).toBe(1);
    expect(stderr.join('\n')).toContain('PEER_LOST');
  });

  it('a service that is started by hand keeps its exit code', async () => {
    expect((await refused('coordinator')).stderr.join('\n')).toContain('--context-parallel-size is missing');
  });
});
