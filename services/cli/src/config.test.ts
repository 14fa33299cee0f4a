import { stringOption } from '@ulysses/runtime';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CLUSTER_OPTIONS, clusterSettings, type ClusterConfig } from './cluster-options.js';
import { named, readConfig } from './config.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

const read = (...argv: string[]): ClusterConfig => readConfig(CLUSTER_OPTIONS, argv);
const FOUR = ['--context-parallel-size', '4'];

describe('readConfig', () => {
  it('takes the flag before the variable before the default', () => {
    expect(read(...FOUR).logLevel).toBe('info');
    vi.stubEnv('ULYSSES_LOG_LEVEL', 'warn');
    expect(read(...FOUR).logLevel).toBe('warn');
    expect(read(...FOUR, '--log-level', 'error').logLevel).toBe('error');
    vi.stubEnv('ULYSSES_CONTEXT_PARALLEL_SIZE', '3');
    expect(read().contextParallelSize).toBe(3);
  });

  it('lists every problem at once, with those that no single option can see', () => {
    const options = { a: stringOption({ ...named('a'), help: '', valueName: 'A' }) };
    const problems = (argv: string[]): (() => unknown) => {
      return () => readConfig(options, argv, [() => ['something else']]);
    };
    expect(problems(['--b'])).toThrow(
      [
        'the configuration has problems:',
        '  "--b" is not an option, expected one of --a',
        '  --a is missing, expected text that is not empty (or set ULYSSES_A)',
        '  something else',
      ].join('\n'),
    );
    expect(problems(['--a', 'x'])).toThrow('the configuration has problems:\n  something else');
  });
});

describe('options of up and run', () => {
  it.each([
    ['1', '--context-parallel-size is "1", expected an integer from 2 to 4096'],
    ['0', '--context-parallel-size is "0", expected an integer from 2 to 4096'],
    ['two', '--context-parallel-size is "two", expected an integer from 2 to 4096'],
  ])('refuse --context-parallel-size %s', (size, message) => {
    expect(() => read('--context-parallel-size', size)).toThrow(message);
  });

  it('refuse to start without a context-parallel size, naming flag and variable', () => {
    expect(() => read()).toThrow(
      '--context-parallel-size is missing, expected an integer from 2 to 4096 (or set ULYSSES_CONTEXT_PARALLEL_SIZE)',
    );
  });

  it('accept ulysses_cp_algo and refuse every other algorithm by name', () => {
    expect(read(...FOUR, '--context-parallel-algo', 'ulysses_cp_algo').contextParallelAlgo).toBe(
      'ulysses_cp_algo',
    );
    for (const other of ['megatron_cp_algo', 'hybrid_cp_algo', 'Ulysses_cp_algo']) {
      expect(() => read(...FOUR, '--context-parallel-algo', other)).toThrow(
        `--context-parallel-algo is "${other}", expected one of ulysses_cp_algo`,
      );
    }
  });

  it('accept every KV-cache policy and refuse others by name', () => {
    expect(clusterSettings(read(...FOUR))).toMatchObject({
      kvCachePolicy: 'none',
      kvCachePolicyUnaligned: false,
      storeBytesPerJob: null,
    });
    for (const policy of ['none', 'half', 'full', 'auto']) {
      const config = read(...FOUR, '--context-parallel-kv-cache-policy', policy);
      expect(clusterSettings(config).kvCachePolicy).toBe(policy);
    }
    expect(() => read(...FOUR, '--context-parallel-kv-cache-policy', 'most')).toThrow(
      '--context-parallel-kv-cache-policy is "most", expected one of none, half, full, auto',
    );
  });

  it.each(['0.0.0.0:7100', '[::]:7100', '7100', 'localhost'])('refuse --listen %s', (listen) => {
    expect(() => read(...FOUR, '--listen', listen)).toThrow(`--listen is "${listen}", expected HOST:PORT`);
  });

  it('give each rank its share of the cores, at least one thread', () => {
    expect(clusterSettings(read('--context-parallel-size', '4096')).threads).toBe(1);
    expect(clusterSettings(read(...FOUR, '--threads', '7')).threads).toBe(7);
  });
});
