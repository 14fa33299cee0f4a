import { beforeAll, describe, expect, test } from 'vitest';
import { createLocalAttention } from '../attention/local-attention.js';
import { entriesToCheck, gradientError } from './gradient-check.js';
import { createModel } from './model.js';

const shape = { layers: 2, heads: 4, kvHeads: 2, headSize: 5, maxLength: 16 };
const text = Buffer.from('abracadabra');
const signal = new AbortController().signal;
const attention = createLocalAttention(shape, { dtype: 'f32', window: null }, 1);
const model = createModel(shape, 7, 1);
const lossOf = async (): Promise<number> => (await model.forward(text, attention, signal)).loss;

/** The errors here are below 6e-5; they come from float32 rounding in the loss. */
const TOLERANCE = 5e-4;

beforeAll(async () => {
  // The output starts near zero in a real training; larger weights make every gradient stand out from rounding.
  const logits = model.parameters.find(({ name }) => name === 'logits')!;
  logits.value.data.forEach((value, index, data) => (data[index] = value * 30));
  const pass = await model.forward(text, attention, signal);
  await pass.backward();
});

describe('gradients agree with differences of the loss', () => {
  test.each(model.parameters.map((parameter) => [parameter.name, parameter] as const))(
    '%s',
    async (_, parameter) => {
      const gradient = parameter.gradient.data.slice();
      const error = await gradientError(parameter, gradient, entriesToCheck(gradient, 12), lossOf);
      expect(error).toBeLessThan(TOLERANCE);
    },
  );
});

test.each([
  [
    'one entry of a gradient 1 % too large',
    (gradient: Float32Array, most: number) => (gradient[most]! *= 1.01),
  ],
  [
    'a gradient of the opposite sign',
    (gradient: Float32Array) => {
      gradient.forEach((g, i) => (gradient[i] = -g));
    },
  ],
  ['a missing gradient entry', (gradient: Float32Array, most: number) => (gradient[most] = 0)],
])('%s is found', async (_, spoil) => {
  for (const parameter of model.parameters) {
    const gradient = parameter.gradient.data.slice();
    const entries = entriesToCheck(gradient, 1);
    spoil(gradient, entries[0]!);
    expect(await gradientError(parameter, gradient, entries, lossOf), parameter.name).toBeGreaterThan(
      TOLERANCE,
    );
  }
});

test('no byte sees itself or what follows: the probabilities of all continuations sum to 1', async () => {
  // The loss times the length is -log p(text), so p(byte | prefix) = p(prefix + byte) / p(prefix).
  const logProbability = async (bytes: Buffer): Promise<number> =>
    -(await model.forward(bytes, attention, signal)).loss * bytes.length;
  const prefix = await logProbability(text);
  let sum = 0;
  for (let byte = 0; byte < 256; byte++) {
    sum += Math.exp((await logProbability(Buffer.concat([text, Buffer.of(byte)]))) - prefix);
  }
  expect(sum).toBeCloseTo(1, 4);
});

test('a text of one byte has a loss and gradients', async () => {
  const pass = await model.forward(Buffer.from('x'), attention, signal);
  await pass.backward();
  expect(pass.loss).toBeGreaterThan(0);
  for (const { name, gradient } of model.parameters) {
    expect(gradient.data.every(Number.isFinite), name).toBe(true);
  }
});
