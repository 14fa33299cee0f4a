import { describe, expect, it } from 'vitest';
import { UlyssesError } from '@ulysses/errors';
import { helpText, resolveConfig } from './config.js';
import {
  bytesOption,
  choiceOption,
  durationOption,
  integerOption,
  stringOption,
  switchOption,
} from './options.js';

const OPTIONS = {
  cpSize: integerOption({ flag: 'context-parallel-size', help: 'Ranks.', min: 2, default: 4 }),
  policy: choiceOption(['full', 'half'], { flag: 'policy', help: 'What is kept.', default: null }),
  input: stringOption({ flag: 'input', help: 'File or folder.', valueName: 'PATH' }),
  lease: durationOption({ flag: 'lease', env: 'LEASE_TIME', help: 'Lease.', default: 3000, minMs: 100 }),
  store: bytesOption({ flag: 'store', help: 'Budget.', default: 2 ** 30 }),
  pretty: switchOption({ flag: 'pretty', help: 'Readable log.' }),
};
const DEFAULTS = { cpSize: 4, policy: null, lease: 3000, store: 2 ** 30, pretty: false };

function resolve(argv: readonly string[], env: Record<string, string> = {}) {
  return resolveConfig(OPTIONS, { argv, env });
}

function problems(argv: readonly string[], env: Record<string, string> = {}): unknown {
  try {
    resolve(argv, env);
  } catch (thrown) {
    if (thrown instanceof UlyssesError && thrown.code === 'CONFIG') return thrown.details['problems'];
    throw thrown;
  }
  throw new Error('nothing was wrong');
}

describe('resolveConfig', () => {
  it('takes the flag, then the variable, then the default', () => {
    const env = { CONTEXT_PARALLEL_SIZE: '7', INPUT: 'from-env', LEASE_TIME: '' };
    expect(resolve([], env)).toEqual({ ...DEFAULTS, cpSize: 7, input: 'from-env' });
    expect(resolve(['--context-parallel-size', '3', '--input=a=b'], env)).toEqual({
      ...DEFAULTS,
      cpSize: 3,
      input: 'a=b',
    });
  });

  it.each([
    [['--lease', '250ms'], { lease: 250 }],
    [['--lease', '1.5m'], { lease: 90_000 }],
    [['--lease=2h'], { lease: 7_200_000 }],
    [['--store', '1.5GiB'], { store: 1.5 * 2 ** 30 }],
    [['--store', '4096B'], { store: 4096 }],
    [['--policy', 'half'], { policy: 'half' }],
    [['--pretty'], { pretty: true }],
    [['--no-pretty'], { pretty: false }],
    [['--pretty=true'], { pretty: true }],
  ])('reads %j', (argv, expected) => {
    expect(resolve([...argv, '--input', 'x'])).toEqual({ ...DEFAULTS, input: 'x', ...expected });
  });

  it('reads an option without a variable from its flag alone', () => {
    const options = { only: integerOption({ flag: 'only', env: null, help: 'By flag.' }) };
    expect(resolveConfig(options, { argv: ['--only', '3'], env: {} })).toEqual({ only: 3 });
    expect(() => resolveConfig(options, { argv: [], env: { ONLY: '3', null: '3' } })).toThrow(
      '--only is missing, expected an integer, at least 0',
    );
    expect(helpText(options)).toBe('  --only N\n      By flag. [required]');
  });

  it('reads a switch from a variable', () => {
    expect(resolve(['--input', 'x'], { PRETTY: '1' }).pretty).toBe(true);
    expect(resolve(['--input', 'x', '--no-pretty'], { PRETTY: '1' }).pretty).toBe(false);
  });

  it('lists every problem at once, each with its source, value and what was expected', () => {
    const argv = ['--context-parallel-size', '1', '--lease', '50ms', '--verbose', 'stray', '--store', '1GB'];
    expect(problems(argv, { POLICY: 'quarter' })).toEqual([
      '"--verbose" is not an option, expected one of --context-parallel-size, --policy, --input, --lease, --store, --pretty',
      '"stray" is not an option, expected one of --context-parallel-size, --policy, --input, --lease, --store, --pretty',
      '--context-parallel-size is "1", expected an integer, at least 2',
      'POLICY is "quarter", expected one of full, half',
      '--input is missing, expected text that is not empty (or set INPUT)',
      '--lease is "50ms", expected a time such as 250ms, 2s, 1.5m or 1h, at least 100ms',
      '--store is "1GB", expected a size such as 512MiB, 1.5GiB or 4096B',
    ]);
  });

  it('lists what checks find beside what is wrong with single options, and passes over a check of an option without a value', () => {
    const read = (): unknown =>
      resolveConfig(OPTIONS, { argv: ['--lease', 'soon', '--pretty'], env: { INPUT: 'x' } }, [
        ({ lease, store }) => [`${lease} of ${store}`],
        ({ pretty, policy }) => (pretty && policy === null ? ['--pretty goes with --policy'] : []),
        ({ input }) => {
          throw new UlyssesError('CONFIG', `there is no ${input}`);
        },
      ]);
    expect(read).toThrow(
      [
        'the configuration has problems:',
        '  --lease is "soon", expected a time such as 250ms, 2s, 1.5m or 1h, at least 100ms',
        '  --pretty goes with --policy',
        '  there is no x',
      ].join('\n'),
    );
  });

  it('refuses a flag that is given twice and a flag without its value', () => {
    expect(problems(['--input', 'a', '--input', 'b'])).toEqual(['--input is given twice, expected once']);
    expect(problems(['--input', 'a', '--store'])).toEqual([
      '--store has no value, expected a size such as 512MiB, 1.5GiB or 4096B',
    ]);
  });

  it.each(['', '1.0', '1e3', '0x10', '-3', '9007199254740993'])('refuses %j as an integer', (text) => {
    expect(problems([`--context-parallel-size=${text}`, '--input', 'x'])).toHaveLength(1);
  });
});

describe('helpText', () => {
  it('shows flag, sentence, variable and default of every option', () => {
    expect(helpText(OPTIONS)).toBe(
      [
        '  --context-parallel-size N',
        '      Ranks. [CONTEXT_PARALLEL_SIZE; default: 4]',
        '  --policy full|half',
        '      What is kept. [POLICY; default: none]',
        '  --input PATH',
        '      File or folder. [INPUT; required]',
        '  --lease TIME',
        '      Lease. [LEASE_TIME; default: 3s]',
        '  --store SIZE',
        '      Budget. [STORE; default: 1GiB]',
        '  --[no-]pretty',
        '      Readable log. [PRETTY; default: false]',
      ].join('\n'),
    );
  });
});
