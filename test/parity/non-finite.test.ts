import { referenceDevice } from '@ulysses/device';
import type { Mask } from '@ulysses/plan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { runStep } from '../support/cluster-step.js';
import { runOnDevice } from '../support/device-step.js';
import { RESULTS } from '../support/expect-attention.js';
import { visibleBy } from '../support/reference-mask.js';
import { stepInputs, type StepInputs } from '../support/step-inputs.js';

const SHAPE = { rows: 131, batch: 1, qHeads: 4, kvHeads: 2, headSize: 24 };
const ROW = 70;
const NONE: Mask = { left: null, right: null, segments: null, validRanges: null };
const cuSeqlens = [0, 40, 97, 131];

const MASKS: readonly (readonly [string, Mask])[] = [
  ['causal', { ...NONE, right: 0 }],
  ['packed', { ...NONE, segments: { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens } }],
  ['windowed', { ...NONE, left: 9, right: 2 }],
];

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: 3 });
});
afterAll(async () => {
  await cluster.stop();
});

/** One element of row 70 of the second head. */
function plant(tensor: keyof StepInputs, value: number): StepInputs {
  const inputs = stepInputs(SHAPE, 8);
  const { data, extents } = inputs[tensor];
  data[(ROW * extents.heads + 1) * extents.headSize + 5] = value;
  return inputs;
}

/** NaN and infinities as they are, finite values as zero. */
const special = (values: Float32Array): number[] =>
  Array.from(values, (value) => (Number.isFinite(value) ? 0 : value));

describe.each(MASKS)(
  '%s: a value that is not finite reaches what the float64 reference says',
  (_name, mask) => {
    const visible = visibleBy(mask, SHAPE.rows, SHAPE.rows);
    const steps = (['q', 'k', 'v', 'dout'] as const).flatMap((tensor) =>
      [NaN, Infinity, -Infinity].map((value) => [value, tensor] as const),
    );
    it.each(steps)('%d in %s', async (value, tensor) => {
      const inputs = plant(tensor, value);
      const attention = { mask, strategy: 'balanced' } as const;
      const actual = await runStep({ address: cluster.address, splits: [71, 0, 60], attention }, inputs);
      const expected = await runOnDevice({ device: referenceDevice(), visible, cuts: [] }, inputs);
      const touched = RESULTS.filter((name) => special(expected[name]).some((x) => x !== 0));
      expect(touched.length).toBeGreaterThan(0);
      for (const name of RESULTS) expect(special(actual[name]), name).toEqual(special(expected[name]));
    });
  },
);

it('rows that see nothing have out 0, LSE -Infinity and zero gradients, whatever they hold', async () => {
  const ranges = [{ begin: 20, end: 101 }];
  const mask = { ...NONE, right: 0, validRanges: { q: ranges, kv: ranges } };
  const inputs = stepInputs(SHAPE, 8);
  const hidden = (row: number): boolean => row < 20 || row >= 101;
  for (const tensor of Object.values(inputs) as StepInputs['q'][]) {
    const perRow = tensor.extents.heads * tensor.extents.headSize;
    for (let row = 0; row < SHAPE.rows; row++) {
      if (hidden(row)) tensor.data.fill(NaN, row * perRow, (row + 1) * perRow);
    }
  }
  const result = await runStep({ address: cluster.address, splits: [66, 65], attention: { mask } }, inputs);
  for (const name of ['out', 'dq', 'dk', 'dv'] as const) {
    const perRow = result[name].length / SHAPE.rows;
    const wrong = [...result[name]].filter((value, i) =>
      hidden(Math.floor(i / perRow)) ? !Object.is(value, 0) : !Number.isFinite(value),
    );
    expect(wrong, name).toEqual([]);
  }
  const lse = [...result.lse].map((value, i) => (hidden(i % SHAPE.rows) ? value : Number.isFinite(value)));
  expect(new Set(lse)).toEqual(new Set([-Infinity, true]));
});
