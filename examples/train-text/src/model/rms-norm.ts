import type { Tensor } from './tensor.js';

const EPSILON = 1e-5;

/**
 * y = x / rms(x) * weight, row by row. x, y [s, w]; weight [1, w].
 * Writes 1 / rms of each row to `inverse` [s, 1], which the backward pass reads.
 */
export function rmsNorm(x: Tensor, weight: Tensor, y: Tensor, inverse: Tensor): void {
  const width = x.columns;
  const [from, scale, to] = [x.data, weight.data, y.data];
  for (let row = 0; row < x.rows; row++) {
    const begin = row * width;
    let squares = 0;
    for (let i = 0; i < width; i++) squares += from[begin + i]! * from[begin + i]!;
    const factor = 1 / Math.sqrt(squares / width + EPSILON);
    inverse.data[row] = factor;
    for (let i = 0; i < width; i++) to[begin + i] = from[begin + i]! * factor * scale[i]!;
  }
}

/** Adds the gradient of x to `dx` [s, w] and that of the weight to `dWeight` [1, w]; dy [s, w]. */
export function rmsNormBackward(
  x: Tensor,
  weight: Tensor,
  inverse: Tensor,
  dy: Tensor,
  dx: Tensor,
  dWeight: Tensor,
): void {
  const width = x.columns;
  const [values, scale, gradient, sum, weightSum] = [x.data, weight.data, dy.data, dx.data, dWeight.data];
  for (let row = 0; row < x.rows; row++) {
    const begin = row * width;
    const factor = inverse.data[row]!;
    let projection = 0;
    for (let i = 0; i < width; i++) {
      const product = gradient[begin + i]! * values[begin + i]! * factor;
      weightSum[i]! += product;
      projection += product * scale[i]!;
    }
    const mean = projection / width;
    for (let i = 0; i < width; i++) {
      const normed = values[begin + i]! * factor;
      sum[begin + i]! += factor * (gradient[begin + i]! * scale[i]! - normed * mean);
    }
  }
}
