import { allocate, type Tensor } from './tensor.js';
import { fillNormal, type Random } from './random.js';

/** A tensor that training changes, with the gradient of the last backward pass. */
export interface Parameter {
  readonly name: string;
  readonly value: Tensor;
  readonly gradient: Tensor;
  /** Whether weight decay applies: matrices yes, norm weights no. */
  readonly decays: boolean;
}

/** A matrix [rows, columns] of normal values. */
export function randomMatrix(
  name: string,
  rows: number,
  columns: number,
  deviation: number,
  random: Random,
): Parameter {
  const value = allocate(rows, columns);
  fillNormal(value.data, deviation, random);
  return { name, value, gradient: allocate(rows, columns), decays: true };
}

/** The weight of a norm, [1, width], all ones. */
export function normWeight(name: string, width: number): Parameter {
  const value = allocate(1, width);
  value.data.fill(1);
  return { name, value, gradient: allocate(1, width), decays: false };
}
