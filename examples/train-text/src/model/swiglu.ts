import type { Tensor } from './tensor.js';

/** hidden = gate * sigmoid(gate) * up, element by element; all [s, f]. */
export function swiglu(gate: Tensor, up: Tensor, hidden: Tensor): void {
  const [gates, ups, to] = [gate.data, up.data, hidden.data];
  for (let i = 0; i < to.length; i++) to[i] = (gates[i]! / (1 + Math.exp(-gates[i]!))) * ups[i]!;
}

/** Turns gate and up into their gradients, in place; dHidden [s, f]. */
export function swigluBackward(dHidden: Tensor, gate: Tensor, up: Tensor): void {
  const [gradient, gates, ups] = [dHidden.data, gate.data, up.data];
  for (let i = 0; i < gradient.length; i++) {
    const value = gates[i]!;
    const sigmoid = 1 / (1 + Math.exp(-value));
    gates[i] = gradient[i]! * ups[i]! * sigmoid * (1 + value * (1 - sigmoid));
    ups[i] = gradient[i]! * value * sigmoid;
  }
}
