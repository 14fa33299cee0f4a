import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { integerOption, switchOption } from '@ulysses/runtime';
import { describe, expect, it } from 'vitest';
import { benchHelp, parseCommandLine, type Bench } from './read-command-line.js';

const OPTIONS = {
  all: switchOption({ flag: 'all', env: null, help: 'Every shape.' }),
  repeats: integerOption({ flag: 'repeats', env: null, min: 1, default: 3, help: 'How often.' }),
};
const CASES = ['agree', 'agree 4 owners', 'step f32'];

function bench(by: 'name' | 'words'): Bench<typeof OPTIONS> {
  const of = ({ all }: { all: boolean }): string[] => (all ? [...CASES, 'step f64'] : CASES);
  return {
    command: 'npm run bench:x',
    about: 'Steps.',
    takes: 'A minute.',
    options: OPTIONS,
    cases: { by, of },
  };
}

function wanted(by: 'name' | 'words', ...argv: string[]): string[] {
  const { wants } = parseCommandLine(bench(by), argv);
  return [...CASES, 'step f64'].filter(wants);
}

describe('the command line of a bench', () => {
  it('asks for every case when it names none', () => {
    expect(parseCommandLine(bench('name'), ['--repeats', '7'])).toMatchObject({
      flags: { all: false, repeats: 7 },
      isNarrowed: false,
    });
    expect(wanted('name')).toEqual([...CASES, 'step f64']);
  });

  it('asks for cases by their names, or by words that a name holds all of', () => {
    expect(wanted('name', 'agree', 'step f32')).toEqual(['agree', 'step f32']);
    expect(wanted('words', 'agree', '4')).toEqual(['agree 4 owners']);
    expect(wanted('words', 'f64', '--all')).toEqual(['step f64']);
  });

  it.each([
    [['--al'], '"--al" is not an option, expected one of --all, --repeats'],
    [['--all', 'agree'], '"agree" is not an option'],
    [['--repeats', '0'], '--repeats is "0", expected an integer, at least 1'],
    [['agree', 'overlap'], 'there is no case "overlap", expected some of: agree, agree 4 owners, step f32'],
    [['step f64'], 'there is no case "step f64"'],
  ])('refuses %j', (argv, message) => {
    expect(() => parseCommandLine(bench('name'), argv)).toThrow(message);
  });

  it('refuses words that no case has all of, and cases of a bench without any', () => {
    expect(() => wanted('words', 'agree', 'f32')).toThrow('there is no case "agree", "f32"');
    const whole: Bench<Record<string, never>> = {
      command: 'npm run bench:x',
      about: 'Steps.',
      takes: 'A minute.',
      options: {},
    };
    expect(() => parseCommandLine(whole, ['agree'])).toThrow('"agree" is not an option, expected none');
  });

  it('has help that says what is measured, how long it takes, and what can be chosen', () => {
    expect(benchHelp(bench('name'))).toBe(
      [
        'Usage: npm run bench:x -- [CASE...] [options]',
        '',
        'Steps.',
        '',
        'A minute.',
        '',
        'Cases; with arguments, in quotes where names have spaces, only those of them:',
        '  agree',
        '  agree 4 owners',
        '  step f32',
        '',
        'Options:',
        '  --[no-]all',
        '      Every shape. [default: false]',
        '  --repeats N',
        '      How often. [default: 3]',
        '  --help',
        '      Shows this.',
      ].join('\n'),
    );
  });
});

describe('the programs of package.json', () => {
  const root = fileURLToPath(new URL('../', import.meta.url));
  const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    scripts: Record<string, string>;
  };
  // Those that Node runs; bench:torch is Python's, and needs PyTorch.
  const programs = Object.entries(scripts).flatMap(([name, script]) => {
    const program = /node ((?:bench|scripts)\/\S+)$/.exec(script)?.[1];
    return name.startsWith('bench:') && program !== undefined ? [[name, program] as const] : [];
  });
  const children = ['bench/dist/all-to-all-member.js', 'bench/dist/aggressor-process.js'];
  const all = [...programs, ...children.map((program) => [program, program] as const)];

  it('are all of them', () => {
    expect(programs.map(([name]) => name).sort()).toEqual(
      ['docs', 'exchange', 'kernels', 'plan', 'scale', 'setup', 'step'].map((name) => `bench:${name}`),
    );
  });

  it.each(all)('%s shows help and does nothing else', (_, program) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}${program}`, '--help'], {
      encoding: 'utf8',
      timeout: 30_000,
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^Usage: |^A process that /);
  });

  it.each(all)('%s refuses a flag that it does not know', (_, program) => {
    const { status, stdout } = spawnSync(process.execPath, [`${root}${program}`, '--no-such-flag'], {
      encoding: 'utf8',
      timeout: 30_000,
    });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });
});
