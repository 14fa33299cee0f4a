import { afterEach, describe, expect, it } from 'vitest';
import { runCli, startCli, type CliProcess } from '../cli-process.js';

const started: CliProcess[] = [];
afterEach(async () => {
  for (const cli of started) cli.kill('SIGKILL');
  await Promise.all(started.splice(0).map(({ ended }) => ended));
});

/** `script` is JavaScript. */
function start(script: string, ...flags: string[]): CliProcess {
  const command = [process.execPath, '-e', script];
  const cli = startCli([
    'run',
    '--context-parallel-size',
    '2',
    '--log-level',
    'info',
    ...flags,
    '--',
    ...command,
  ]);
  started.push(cli);
  return cli;
}

describe('ulysses run', () => {
  it('gives the command the address, leaves stdout to it and exits with its exit code', async () => {
    const { exitCode, stdout } = await start('console.log(process.env.ULYSSES_ADDRESS); process.exit(7)')
      .ended;
    expect(exitCode).toBe(7);
    expect(stdout).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+$/)]);
  });

  it('passes signals on to the command and reports the one that ended it as shells do', async () => {
    const cli = start('console.log("runs"); setInterval(() => {}, 1000)');
    await cli.until((line) => (line === 'runs' ? true : undefined));
    cli.kill('SIGTERM');
    expect((await cli.ended).exitCode).toBe(128 + 15);
  });

  it('ends the command and exits with 1 when the coordinator is killed', async () => {
    const cli = start('process.on("SIGTERM", () => {}); console.log("runs"); setInterval(() => {}, 1000)');
    const pid = await cli.untilLogged(
      (line) => /"name":"coordinator","pid":(\d+).*"msg":"listening"/.exec(line)?.[1],
    );
    await cli.until((line) => (line === 'runs' ? true : undefined));
    process.kill(Number(pid), 'SIGKILL');
    const { exitCode, stderr } = await cli.ended;
    expect(exitCode).toBe(1);
    expect(stderr.at(-1)).toContain(`the coordinator (pid ${pid}) ended: SIGKILL`);
  });

  it('keeps serving after the command when asked, then exits with the exit code of the command', async () => {
    const cli = start('console.log(process.env.ULYSSES_ADDRESS); process.exit(3)', '--keep-serving');
    const address = await cli.until((line) => line);
    await cli.untilLogged((line) => (line.includes('"keeps serving"') ? true : undefined));
    expect((await runCli(['status', '--address', address])).exitCode).toBe(0);
    cli.kill('SIGTERM');
    expect((await cli.ended).exitCode).toBe(3);
  });

  it('exits with 2 when the command cannot be started', async () => {
    const { exitCode, stderr } = await runCli([
      'run',
      '--context-parallel-size',
      '2',
      '--',
      './no-such-program',
    ]);
    expect(exitCode).toBe(2);
    expect(stderr.at(-1)).toContain('./no-such-program');
  });
});
