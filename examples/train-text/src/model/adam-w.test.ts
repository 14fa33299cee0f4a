import { expect, test } from 'vitest';
import { clipGradients, createAdamW } from './adam-w.js';
import { normWeight, randomMatrix, type Parameter } from './parameter.js';
import { createRandom } from './random.js';

const settings = {
  learningRate: 0.1,
  warmupSteps: 2,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.5,
};

function matrixOf(value: number, gradient: number): Parameter {
  const parameter = randomMatrix('matrix', 1, 1, 1, createRandom(1));
  parameter.value.data[0] = value;
  parameter.gradient.data[0] = gradient;
  return parameter;
}

test('two steps agree with the formula worked out by hand', () => {
  const parameter = matrixOf(2, 0.5);
  const update = createAdamW([parameter], settings);
  // Step 1: rate 0.05; mean 0.05 / 0.1 = 0.5, square 0.0025 / 0.01 = 0.25, so the move is 0.05 * 0.5 / 0.5.
  // The decay takes 0.05 * 0.5 of the value: 2 * 0.975 - 0.05 = 1.9.
  update();
  expect(parameter.value.data[0]).toBeCloseTo(1.9, 6);
  // Step 2, gradient -1: rate 0.1; mean (0.9 * 0.05 - 0.1) / 0.19 = -0.2894737,
  // square (0.99 * 0.0025 + 0.01) / 0.0199 = 0.6268844, root 0.7917603: the move is 0.1 * -0.3656077.
  // 1.9 * 0.95 + 0.0365608 = 1.8415608.
  parameter.gradient.data[0] = -1;
  update();
  expect(parameter.value.data[0]).toBeCloseTo(1.8415608, 6);
});

test('norm weights do not decay', () => {
  const weight = normWeight('norm', 1);
  createAdamW([weight], settings)();
  expect(weight.value.data[0]).toBe(1);
});

test('gradients longer than the limit are scaled to it together, shorter ones stay', () => {
  const parameters = [matrixOf(0, 3), matrixOf(0, -4)];
  expect(clipGradients(parameters, 10)).toBe(5);
  expect(parameters.map(({ gradient }) => gradient.data[0])).toEqual([3, -4]);
  expect(clipGradients(parameters, 1)).toBe(5);
  expect(parameters[0]!.gradient.data[0]).toBeCloseTo(0.6, 6);
  expect(parameters[1]!.gradient.data[0]).toBeCloseTo(-0.8, 6);
});
