import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DefaultGatherSizeCalculator, DynamicGatherSizeCalculator } from '@ulysses/plan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Calculators } from './calculators.js';
import { SAMPLE_VIEW } from './sample-view.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'calculators-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

let modules = 0;
/** Writes a module of a user's and returns its path. */
async function moduleOf(source: string): Promise<string> {
  const path = join(folder, `calculator-${modules++}.mjs`);
  await writeFile(path, source);
  return path;
}

const OWN = { ...SAMPLE_VIEW, gatherSizeCalculator: null };
const INPUT = {
  tensor: 'q',
  shardRows: [10],
  attentionMaskLengths: null,
  attentionMaskExtent: null,
  layout: 'sbhd',
  kwargs: {},
} as const;

describe('the calculator of a coordinator', () => {
  it.each([
    ['an object under the documented name', 'export const gatherSizeCalculator = { calculate: () => 7 };'],
    ['a class under the documented name', 'export class gatherSizeCalculator { calculate() { return 7; } }'],
    ['a default object', 'export default { calculate: () => 7 };'],
    ['a default class', 'export default class { calculate() { return 7; } }'],
    ['the module itself', 'export const calculate = () => 7;'],
  ])('is %s of a module', async (_, source) => {
    const calculators = await Calculators.load(await moduleOf(source));
    expect(await calculators.of(OWN).calculate(INPUT)).toBe(7);
    expect(calculators.of({ ...OWN, gatherSizeCalculator: 'custom' })).toBe(calculators.of(OWN));
    expect(calculators.isAligned(OWN)).toBe(false);
  });

  it('is loaded and made once, so that it may keep what it learns between steps', async () => {
    const calculators = await Calculators.load(
      await moduleOf(`
        let loaded = 0;
        loaded++;
        export class gatherSizeCalculator {
          calls = 0;
          calculate() { return 10 * loaded + ++this.calls; }
        }`),
    );
    const answers = [];
    for (let step = 0; step < 3; step++) answers.push(await calculators.of(OWN).calculate(INPUT));
    expect(answers).toEqual([11, 12, 13]);
  });

  it.each([
    ['dynamic', DynamicGatherSizeCalculator],
    ['default', DefaultGatherSizeCalculator],
  ] as const)('is known by the name %s', async (choice, known) => {
    const calculators = await Calculators.load(choice);
    expect(calculators.of(OWN)).toBeInstanceOf(known);
    expect(calculators.isAligned(OWN)).toBe(choice === 'default');
  });

  it('that a step names and there is not is refused with the ones that there are', async () => {
    const calculators = await Calculators.load('dynamic');
    expect(() => calculators.of({ ...OWN, gatherSizeCalculator: 'custom' })).toThrow(
      'gather_size_calculator is "custom", expected one of default, dynamic; a custom one is given',
    );
  });

  it.each([
    ['throws when loaded', 'throw new Error("no licence");', 'no licence'],
    [
      'has a constructor that throws',
      'export class gatherSizeCalculator { constructor() { throw new Error("no mask"); } }',
      'its constructor threw: no mask',
    ],
    ['has no calculate', 'export const gatherSizeCalculator = { size: 7 };', 'with a method `calculate`'],
    ['exports nothing', '', 'with a method `calculate`'],
  ])('that %s is a CONFIG error with path and reason', async (_, source, reason) => {
    const path = await moduleOf(source);
    const error: unknown = await Calculators.load(path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'CONFIG', details: { value: path } });
    expect((error as Error).message).toContain(`--gather-size-calculator ${path}`);
    expect((error as Error).message).toContain(reason);
  });

  it('that is no file is a CONFIG error that says what could be given', async () => {
    await expect(Calculators.load(join(folder, 'absent.mjs'))).rejects.toMatchObject({
      code: 'CONFIG',
      message: expect.stringContaining('expected default, dynamic or the path of a module') as string,
    });
  });
});

describe('a calculator that ran in the client', () => {
  it.each([
    ['for no tensor', null, null, true],
    ['for q alone', 9, null, false],
    ['for k and v alone', null, 7, false],
    ['for both', 9, 7, false],
  ])('and answered %s makes the step aligned only if it said nothing', async (_, q, kv, aligned) => {
    const calculators = await Calculators.load('dynamic');
    const view = { ...OWN, clientCalculator: 'Theirs', gatherSizeQ: q, gatherSizeKv: kv };
    expect(calculators.isAligned(view)).toBe(aligned);
  });
});
