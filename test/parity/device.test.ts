import { cpuDevice, referenceDevice, type Device } from '@ulysses/device';
import { detectIsa, ISAS } from '@ulysses/native';
import { describe, expect, it } from 'vitest';
import { runOnDevice } from '../support/device-step.js';
import { largestDeviation } from '../support/error-bound.js';
import { expectSameBits, expectWithinBound, referenceOf, RESULTS } from '../support/expect-attention.js';
import { causal, full, type Visible } from '../support/reference-mask.js';
import { stepInputs } from '../support/step-inputs.js';

const ISAS_HERE = ISAS.slice(ISAS.indexOf(detectIsa()));
const KERNELS: [string, Device][] = ISAS_HERE.map((isa) => [isa, cpuDevice({ threads: 2, isa })]);
const ALL: [string, Device][] = [...KERNELS, ['reference', referenceDevice()]];

const band: Visible = (_batch, row, key) => key >= row - 37 && key <= row + 5;
/** The middle rows see nothing. */
const hole: Visible = (_batch, row, key) => key <= row && (row < 20 || row >= 45);
const samplesDiffer: Visible = (batch, row, key) => key <= row && key >= 11 * batch && row >= 11 * batch;

interface UnitCase {
  readonly rows: number;
  readonly batch: number;
  readonly qHeads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly visible: Visible;
  readonly cuts: readonly number[];
}

const one = { batch: 1, qHeads: 1, kvHeads: 1 };
const CASES: [string, UnitCase][] = [
  ['one row', { ...one, rows: 1, headSize: 64, visible: causal, cuts: [] }],
  ['two rows of size 1', { ...one, rows: 2, headSize: 1, visible: causal, cuts: [1] }],
  ['a partial head of one row', { ...one, rows: 61, headSize: 8, visible: causal, cuts: [60] }],
  [
    'partial heads, GQA',
    { rows: 127, batch: 2, qHeads: 6, kvHeads: 2, headSize: 64, visible: causal, cuts: [90] },
  ],
  [
    'cuts in no multiple of anything',
    { ...one, rows: 259, headSize: 80, visible: causal, cuts: [1, 50, 97, 98] },
  ],
  [
    'full, partial heads',
    { rows: 130, batch: 1, qHeads: 3, kvHeads: 3, headSize: 128, visible: full, cuts: [64] },
  ],
  [
    'the largest head',
    { rows: 97, batch: 1, qHeads: 2, kvHeads: 1, headSize: 256, visible: causal, cuts: [48] },
  ],
  ['odd head sizes: 3', { ...one, rows: 70, headSize: 3, visible: full, cuts: [7] }],
  ['odd head sizes: 17', { ...one, rows: 70, headSize: 17, visible: causal, cuts: [7] }],
  ['odd head sizes: 255', { ...one, rows: 70, headSize: 255, visible: causal, cuts: [] }],
  ['a band', { rows: 200, batch: 1, qHeads: 2, kvHeads: 1, headSize: 32, visible: band, cuts: [111] }],
  ['rows that see nothing', { ...one, rows: 60, headSize: 16, visible: hole, cuts: [22, 44] }],
  [
    'samples with other ranges',
    { rows: 50, batch: 3, qHeads: 2, kvHeads: 2, headSize: 24, visible: samplesDiffer, cuts: [25] },
  ],
];

describe.each(ALL)('units on %s', (_name, device) => {
  it.each(CASES)('are within the bound of the float64 reference: %s', async (_title, unitCase) => {
    const inputs = stepInputs(unitCase, 17);
    const actual = await runOnDevice({ device, ...unitCase }, inputs);
    expectWithinBound(actual, referenceOf(inputs, unitCase.visible));
  });
});

describe.each(KERNELS)('the kernels, %s', (isa, device) => {
  const shape = { rows: 1000, batch: 1, qHeads: 2, kvHeads: 1, headSize: 80 };
  const inputs = stepInputs(shape, 4);

  it('are within the bound at 1000 rows', async () => {
    const actual = await runOnDevice({ device, visible: causal, cuts: [333] }, inputs);
    expectWithinBound(actual, referenceOf(inputs, causal));
  });

  it('give the same bytes again, and on one thread as on two', async () => {
    const step = { visible: causal, cuts: [333] };
    const first = await runOnDevice({ device, ...step }, inputs);
    expectSameBits(await runOnDevice({ device, ...step }, inputs), first);
    const oneThread = cpuDevice({ threads: 1, isa: isa as (typeof ISAS)[number] });
    expectSameBits(await runOnDevice({ device: oneThread, ...step }, inputs), first);
  });
});

it('the bound refuses a score that is off by 1e-4, in every result', async () => {
  // The reference device at another scale: as a kernel would be whose exponential or scale is slightly wrong.
  const inputs = stepInputs({ rows: 100, batch: 1, qHeads: 2, kvHeads: 1, headSize: 64 }, 5);
  const device = referenceDevice();
  const wrong: Device = {
    name: 'wrong',
    forward: (job, units, options) =>
      device.forward({ ...job, scale: job.scale * (1 + 1e-4) }, units, options),
    backward: (job, units, options) =>
      device.backward({ ...job, scale: job.scale * (1 + 1e-4) }, units, options),
  };
  const actual = await runOnDevice({ device: wrong, visible: causal, cuts: [] }, inputs);
  const reference = referenceOf(inputs, causal);
  for (const name of RESULTS)
    expect(largestDeviation(actual[name], reference[name]).ratio).toBeGreaterThan(1);
});
