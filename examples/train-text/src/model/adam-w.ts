import type { Parameter } from './parameter.js';

export interface AdamWSettings {
  readonly learningRate: number;
  /** Steps over which the learning rate rises from nothing. */
  readonly warmupSteps: number;
  /** Decay of the running means of the gradient and of its square. */
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** Changes the parameters by one step along their gradients (Loshchilov and Hutter, 2019). */
export type Optimizer = () => void;

export function createAdamW(parameters: readonly Parameter[], settings: AdamWSettings): Optimizer {
  const { beta1, beta2, epsilon, weightDecay } = settings;
  const states = parameters.map((parameter) => ({
    parameter,
    mean: new Float32Array(parameter.value.data.length),
    square: new Float32Array(parameter.value.data.length),
  }));
  let step = 0;

  return () => {
    step++;
    const rate = settings.learningRate * Math.min(1, step / settings.warmupSteps);
    // The means start at zero; this undoes their bias towards it.
    const meanScale = 1 / (1 - beta1 ** step);
    const squareScale = 1 / (1 - beta2 ** step);
    for (const { parameter, mean, square } of states) {
      const [values, gradients] = [parameter.value.data, parameter.gradient.data];
      const keep = parameter.decays ? 1 - rate * weightDecay : 1;
      for (let i = 0; i < values.length; i++) {
        const gradient = gradients[i]!;
        const m = beta1 * mean[i]! + (1 - beta1) * gradient;
        const v = beta2 * square[i]! + (1 - beta2) * gradient * gradient;
        mean[i] = m;
        square[i] = v;
        values[i] = values[i]! * keep - (rate * m * meanScale) / (Math.sqrt(v * squareScale) + epsilon);
      }
    }
  };
}

/** Scales all gradients down together so that their joint length is at most `limit`; returns the length before. */
export function clipGradients(parameters: readonly Parameter[], limit: number): number {
  let squares = 0;
  for (const { gradient } of parameters) {
    const values = gradient.data;
    for (let i = 0; i < values.length; i++) squares += values[i]! * values[i]!;
  }
  const length = Math.sqrt(squares);
  if (length <= limit) return length;
  const scale = limit / length;
  for (const { gradient } of parameters) {
    const values = gradient.data;
    for (let i = 0; i < values.length; i++) values[i]! *= scale;
  }
  return length;
}
