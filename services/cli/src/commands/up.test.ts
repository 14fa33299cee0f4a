import { afterEach, describe, expect, it } from 'vitest';
import type { ClusterStatus } from '@ulysses/rpc';
import { runCli, startCli, type CliProcess } from '../cli-process.js';
import { formatBytes } from '../format-bytes.js';
import type { ClusterEvent, RankProcess } from '../launcher/cluster-event.js';

interface ReadyLine {
  readonly ready: true;
  readonly address: string;
  readonly coordinator: { readonly pid: number };
  readonly ranks: readonly RankProcess[];
}

const started: CliProcess[] = [];
afterEach(async () => {
  for (const cli of started) cli.kill('SIGKILL');
  await Promise.all(started.splice(0).map(({ ended }) => ended));
});

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): CliProcess {
  const cli = startCli(['up', '--context-parallel-size', '2', ...args], {
    ULYSSES_LOG_LEVEL: 'warn',
    ...env,
  });
  started.push(cli);
  return cli;
}

function untilReady(cli: CliProcess): Promise<ReadyLine> {
  return cli.until((line) => {
    const parsed = JSON.parse(line) as ReadyLine | ClusterEvent;
    return 'ready' in parsed ? parsed : undefined;
  });
}

function untilEvent<Name extends ClusterEvent['event']>(
  cli: CliProcess,
  name: Name,
  matches: (event: ClusterEvent & { event: Name }) => boolean = () => true,
): Promise<ClusterEvent & { event: Name }> {
  return cli.until((line) => {
    const parsed = JSON.parse(line) as Partial<ClusterEvent>;
    if (parsed.event !== name) return undefined;
    const event = parsed as ClusterEvent & { event: Name };
    return matches(event) ? event : undefined;
  });
}

describe('ulysses up', () => {
  it('prints one line when every rank has joined, answers status, and ends with 0 on SIGTERM', async () => {
    const cli = start([]);
    const address = await cli.until((line) => /^ulysses: ready at (\S+:\d+)$/.exec(line)?.[1]);

    const json = await runCli(['status', '--address', address, '--json']);
    const status = JSON.parse(json.stdout.join('\n')) as ClusterStatus;
    expect(status).toMatchObject({ cpSize: 2, ranks: [{ rank: { rank: 0 } }, { rank: { rank: 1 } }] });
    const table = await runCli(['status', '--address', address]);
    expect(table.stdout[0]).toMatch(/^epoch \d+; 2 of 2 ranks.*; steps: 0 running, 0 committed, 0 failed$/);
    expect(table.stdout).toHaveLength(5);
    const { rank, isa, storeBudgetBytes } = status.ranks[1]!;
    const row = (line = ''): string[] => line.trim().split(/ {2,}/);
    expect(row(table.stdout[2])).toEqual([
      ...['rank', 'member', 'ready', 'isa', 'steps', 'store', 'handles', 'lease age', 'control', 'tensors'],
    ]);
    const store = `0 B of ${formatBytes(storeBudgetBytes)}`;
    expect(row(table.stdout[4])).toEqual([
      ...['1', rank.member, 'yes', isa, '0', store, '0', expect.stringMatching(/^\d+ ms$/)],
      ...[rank.controlAddress, rank.tensorAddress],
    ]);

    const watching = startCli(['status', '--address', address, '--watch', '--every', '10ms']);
    started.push(watching);
    let looks = 0;
    await watching.until((line) => (line.startsWith('epoch ') && ++looks === 3 ? true : undefined));
    watching.kill('SIGINT');
    const watched = await watching.ended;
    expect(watched.exitCode).toBe(0);
    // One below the other, each like the first and an empty line more: no terminal is there to be cleared.
    expect(watched.stdout.length).toBeGreaterThanOrEqual(3 * 6 - 5);
    for (const look of [0, 6]) {
      expect(watched.stdout[look]).toBe(table.stdout[0]);
      expect(row(watched.stdout[look + 4]).slice(0, 4)).toEqual(['1', rank.member, 'yes', isa]);
      expect(watched.stdout[look + 5]).toBe('');
    }

    cli.kill('SIGTERM');
    const ended = await cli.ended;
    expect(ended.exitCode).toBe(0);
    expect(ended.stdout).toHaveLength(1);
  });

  it('reports a killed rank and replaces it: the next epoch is complete again', async () => {
    const cli = start(['--json']);
    const ready = await untilReady(cli);
    const victim = ready.ranks[1]!;
    process.kill(victim.pid!, 'SIGKILL');

    const { member, pid } = victim;
    expect(await untilEvent(cli, 'rank-lost')).toMatchObject({ rank: 1, member, pid, reason: 'SIGKILL' });
    const replaced = await untilEvent(cli, 'rank-replaced');
    expect(replaced).toMatchObject({ replaces: member });
    const { ranks } = await untilEvent(cli, 'epoch', (event) => {
      return event.complete && event.ranks.every((rank) => rank.member !== member);
    });
    expect(ranks).toEqual([ready.ranks[0], { rank: 1, member: replaced.member, pid: replaced.pid }]);

    cli.kill('SIGINT');
    expect((await cli.ended).exitCode).toBe(0);
  });

  it('starts ranks when the cluster is scaled up, and keeps one away that was drained', async () => {
    const cli = start(['--json'], { ULYSSES_ON_LOSS: 'shrink' });
    const { address, ranks } = await untilReady(cli);
    const size = (wanted: number) =>
      untilEvent(cli, 'epoch', (event) => event.complete && event.ranks.length === wanted);
    expect((await runCli(['scale', '3', '--address', address])).exitCode).toBe(0);
    const three = await size(3);
    expect(three.ranks.map(({ pid }) => typeof pid)).toEqual(['number', 'number', 'number']);
    expect((await runCli(['drain', '0', '--address', address])).stdout).toEqual(['rank 0 has left']);
    const { member } = ranks[0]!;
    expect(await untilEvent(cli, 'rank-lost')).toMatchObject({ rank: 0, member, reason: 'exit code 0' });
    const four = runCli(['scale', '4', '--address', address]);
    const { ranks: after } = await size(4);
    expect((await four).exitCode).toBe(0);
    expect(after.map((rank) => rank.member)).not.toContain(member);
    cli.kill('SIGTERM');
    const { exitCode, stdout } = await cli.ended;
    expect(exitCode).toBe(0);
    // Two came by scaling and one more took the place that had been drained: none replaced anybody.
    expect(stdout.join('\n')).not.toContain('rank-replaced');
  });

  it('ends with 1, naming the coordinator, when that is killed', async () => {
    const cli = start(['--json']);
    const { coordinator } = await untilReady(cli);
    process.kill(coordinator.pid, 'SIGKILL');
    const { exitCode, stderr } = await cli.ended;
    expect(exitCode).toBe(1);
    expect(stderr.at(-1)).toBe(`ulysses: PEER_LOST: the coordinator (pid ${coordinator.pid}) ended: SIGKILL`);
  });

  it('leaves no process behind when it is killed itself', async () => {
    const cli = start(['--json']);
    await untilReady(cli);
    cli.kill('SIGKILL');
    // Settles only when the last child is gone, too.
    await cli.ended;
  });

  it('ends with 1 after a lost rank when told not to restart', async () => {
    const cli = start(['--json', '--no-restart']);
    const { ranks } = await untilReady(cli);
    process.kill(ranks[0]!.pid!, 'SIGKILL');
    const { exitCode, stderr } = await cli.ended;
    expect(exitCode).toBe(1);
    expect(stderr.at(-1)).toContain('ended (SIGKILL) and --no-restart is set');
  });

  it('ends with 2 when a service refuses its configuration', async () => {
    const calculator = await start(['--gather-size-calculator', './package.json']).ended;
    expect(calculator.exitCode).toBe(2);
    expect(calculator.stderr.join('\n')).toContain('--gather-size-calculator ./package.json');
    const isa = await start([], { ULYSSES_ISA: 'mmx' }).ended;
    expect(isa.exitCode).toBe(2);
    expect(isa.stderr.join('\n')).toContain('ULYSSES_ISA is "mmx"');
  });

  it('stops what it had started when it is interrupted before it is ready', async () => {
    const cli = start([], { ULYSSES_LOG_LEVEL: 'info' });
    await cli.untilLogged((line) => (line.includes('"listening"') ? true : undefined));
    cli.kill('SIGINT');
    const { exitCode, stdout } = await cli.ended;
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: [] });
  });
});
