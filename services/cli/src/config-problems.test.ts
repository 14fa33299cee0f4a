import { describe, expect, it } from 'vitest';
import { fileURLToPath } from 'node:url';
import { runCli } from './cli-process.js';

const A_FILE = fileURLToPath(import.meta.url);

/** Of every kind one: a value that does not parse, an unknown flag, what is missing, what goes together or does not. */
const CALLS: Readonly<
  Record<string, { readonly args: readonly string[]; readonly problems: readonly string[] }>
> = {
  up: {
    args: [
      ...['--threads', 'two', '--world-size', '4', '--tls-key', 'k', '--listen', '10.0.0.1:0'],
      ...['--gather-size-calculator', 'none.js'],
    ],
    problems: [
      '"--world-size" is not an option',
      '"4" is not an option',
      '--context-parallel-size is missing',
      '--tls-key is "k", expected the path of a file that can be read',
      '--gather-size-calculator is "none.js", expected default, dynamic, the path of a file',
      '--threads is "two"',
      'listen is "10.0.0.1:0", expected a loopback address',
    ],
  },
  run: {
    args: ['--threads', 'two', '--context-parallel-size', '1', '--tls-name', 'n'],
    problems: [
      '--context-parallel-size is "1"',
      '--threads is "two"',
      'tls-cert is null, expected a path',
      'the command is missing',
    ],
  },
  plan: {
    args: [
      ...[
        '--context-parallel-size',
        '4',
        '--dtype',
        'f64',
        '--heads',
        '7',
        '--kv-heads',
        '2',
        '--split',
        '1',
      ],
      ...['--splits', '1,2', '--owners', '3', '--sequence', '3', '--kv-splits', '1', '--kv-sequence', '1'],
    ],
    problems: [
      '"--split" is not an option',
      '"1" is not an option',
      '--dtype is "f64"',
      '--sequence and --splits are given',
      '--kv-sequence and --kv-splits are given',
      '--owners is 3, expected 2',
      '--kv-splits are 1, expected 2',
      '--kv-heads is 2, expected a divisor of --heads',
    ],
  },
  status: {
    args: ['--every', '1', '--adress', 'x', '--redis-cert', A_FILE],
    problems: [
      '"--adress" is not an option',
      '"x" is not an option',
      '--every is "1"',
      '--address is missing',
      'redis-key is null, expected a path',
    ],
  },
  trace: {
    args: ['', '--timeout', 'soon', '--address', 'here', '--tls-ca', A_FILE],
    problems: ['--timeout is "soon"', 'STEP is missing', 'address is "here"', 'tls-cert is null'],
  },
  scale: {
    args: ['many', '--timeout', 'soon', '--rendezvous', 'redis://h:port'],
    problems: ['--timeout is "soon"', 'N is "many"', 'rendezvous is "redis://h:port"'],
  },
  drain: {
    args: ['it', '--force', '--timeout', 'soon'],
    problems: ['"--force" is not an option', '--timeout is "soon"', 'RANK is "it"', '--address is missing'],
  },
  rank: {
    args: [
      ...['--threads', '0', '--wait', '--listen', '0.0.0.0:1', '--tensor-listen', '0.0.0.0:2'],
      ...['--tls-key', 'k', '--redis-key', A_FILE],
    ],
    problems: [
      '"--wait" is not an option',
      '--rendezvous is missing',
      '--tls-key is "k"',
      '--threads is "0"',
      'redis-cert is null',
      'listen is "0.0.0.0:1"',
      'tensor-listen is "0.0.0.0:2"',
      'advertise is null',
      'tensor-advertise is null',
    ],
  },
  coordinator: {
    args: [
      ...['--context-parallel-size', '2', '--lease', '1', '--wait', '--min-ranks', '3'],
      ...['--listen', '0.0.0.0:1', '--rendezvous', 'etcd://h:1', '--tls-ca', A_FILE, '--redis-key', 'k'],
    ],
    problems: [
      '"--wait" is not an option',
      '--redis-key is "k"',
      '--lease is "1"',
      'rendezvous is "etcd://h:1"',
      'tls-cert is null',
      'listen is "0.0.0.0:1"',
      'advertise is null',
      'min-ranks is 3, expected at most 2',
    ],
  },
};

describe('a command prints every problem of its configuration in one round, and exits with 2', () => {
  it.each(Object.keys(CALLS))('%s', async (word) => {
    const { args, problems } = CALLS[word]!;
    const { exitCode, stdout, stderr } = await runCli([word, ...args]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: [] });
    const [head, ...lines] = stderr;
    expect(head).toMatch(/CONFIG: the configuration has problems:$/);
    expect(lines.map((line, i) => line.trim().slice(0, problems[i]?.length ?? 0))).toEqual(problems);
  });
});
