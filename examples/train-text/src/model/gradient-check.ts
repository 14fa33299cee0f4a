import type { Parameter } from './parameter.js';

/**
 * The largest error of `gradient` at `entries`, relative to the largest entry of the whole gradient, against
 * differences of the loss. Steps of h and h/2 are combined (Richardson), so that what is left is rounding and a term
 * in h^4, and h may be large: the loss is computed in float32.
 */
export async function gradientError(
  parameter: Parameter,
  gradient: Float32Array,
  entries: readonly number[],
  loss: () => Promise<number>,
): Promise<number> {
  const values = parameter.value.data;
  const largest = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

  const slope = async (entry: number, h: number): Promise<number> => {
    const value = values[entry]!;
    const below = Math.fround(value - h);
    const above = Math.fround(value + h);
    values[entry] = above;
    const lossAbove = await loss();
    values[entry] = below;
    const lossBelow = await loss();
    values[entry] = value;
    return (lossAbove - lossBelow) / (above - below);
  };

  let worst = 0;
  for (const entry of entries) {
    const expected = (4 * (await slope(entry, STEP / 2)) - (await slope(entry, STEP))) / 3;
    worst = Math.max(worst, Math.abs(gradient[entry]! - expected) / largest);
  }
  return worst;
}

const STEP = 0.04;

/** The entries with the largest gradient, and as many drawn evenly: the first say most, the others find what is missing. */
export function entriesToCheck(gradient: Float32Array, count: number): number[] {
  const order = Array.from(gradient.keys()).sort((a, b) => Math.abs(gradient[b]!) - Math.abs(gradient[a]!));
  const stride = Math.max(1, Math.floor(gradient.length / count));
  const even = Array.from(gradient.keys()).filter((entry) => entry % stride === 0);
  return [...new Set([...order.slice(0, count), ...even.slice(0, count)])];
}
