import type { Tensor } from './tensor.js';

/**
 * Mean over the rows of -log softmax(logits)[target], in nats; logits [s, classes], one target per row.
 * The logits are replaced by their gradient: (softmax - one hot) / s.
 */
export function crossEntropy(logits: Tensor, targets: Uint8Array): number {
  const { data, rows, columns } = logits;
  const exponentials = new Float64Array(columns);
  let total = 0;
  for (let row = 0; row < rows; row++) {
    const begin = row * columns;
    const target = begin + targets[row]!;
    let largest = -Infinity;
    for (let i = 0; i < columns; i++) largest = Math.max(largest, data[begin + i]!);
    let sum = 0;
    for (let i = 0; i < columns; i++) {
      const value = Math.exp(data[begin + i]! - largest);
      exponentials[i] = value;
      sum += value;
    }
    total += largest + Math.log(sum) - data[target]!;
    const scale = 1 / (sum * rows);
    for (let i = 0; i < columns; i++) data[begin + i] = exponentials[i]! * scale;
    data[target]! -= 1 / rows;
  }
  return total / rows;
}
