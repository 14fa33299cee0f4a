import type { Tensor } from './tensor.js';

const BASE = 10_000;

/** Rotary position embedding: turns the pairs (2i, 2i + 1) of a head by an angle that grows with the row. */
export interface Rotary {
  /** Turns every head of q or k [s, heads * d] in place. */
  forward(tensor: Tensor): void;
  /** The reverse turn, in place: what the gradient of a turned tensor needs. */
  backward(tensor: Tensor): void;
}

/** Tables for up to `maxRows` rows; an odd head size leaves its last element as it is. */
export function createRotary(headSize: number, maxRows: number): Rotary {
  const pairs = Math.floor(headSize / 2);
  const cosines = new Float32Array(maxRows * pairs);
  const sines = new Float32Array(maxRows * pairs);
  for (let row = 0; row < maxRows; row++) {
    for (let pair = 0; pair < pairs; pair++) {
      const angle = row * BASE ** (-pair / pairs);
      cosines[row * pairs + pair] = Math.cos(angle);
      sines[row * pairs + pair] = Math.sin(angle);
    }
  }

  function turn({ data, rows, columns }: Tensor, direction: 1 | -1): void {
    for (let row = 0; row < rows; row++) {
      for (let head = row * columns; head < (row + 1) * columns; head += headSize) {
        for (let pair = 0; pair < pairs; pair++) {
          const cosine = cosines[row * pairs + pair]!;
          const sine = direction * sines[row * pairs + pair]!;
          const first = data[head + 2 * pair]!;
          const second = data[head + 2 * pair + 1]!;
          data[head + 2 * pair] = first * cosine - second * sine;
          data[head + 2 * pair + 1] = first * sine + second * cosine;
        }
      }
    }
  }

  return {
    forward: (tensor) => {
      turn(tensor, 1);
    },
    backward: (tensor) => {
      turn(tensor, -1);
    },
  };
}
