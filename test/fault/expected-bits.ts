import { referenceAttention } from '../support/reference-attention.js';
import { largestDeviation } from '../support/error-bound.js';
import { runStep, type WholeResult } from '../support/cluster-step.js';
import { causal } from '../support/reference-mask.js';
import { stepInputs, type InputShape } from '../support/step-inputs.js';

export const INPUT_SEED = 5;
/** With more rows the float64 reference takes longer than the run; one process's result is the truth then. */
const MOST_REFERENCE_ROWS = 200;
const NAMES = ['out', 'lse', 'dq', 'dk', 'dv'] as const;

/** What one undisturbed trainer with the whole sequence gets: every other way to compute it has the same bits. */
export async function expectedBits(address: string, shape: InputShape): Promise<WholeResult> {
  const inputs = stepInputs(shape, INPUT_SEED);
  const whole = await runStep({ address, splits: [shape.rows], attention: { causal: true } }, inputs);
  if (shape.rows > MOST_REFERENCE_ROWS) return whole;
  const reference = referenceAttention({
    ...shape,
    keys: shape.rows,
    heads: shape.qHeads,
    scale: Math.fround(1 / Math.sqrt(shape.headSize)),
    visible: causal,
    q: inputs.q.data,
    k: inputs.k.data,
    v: inputs.v.data,
    dout: inputs.dout.data,
  });
  for (const name of NAMES) {
    const { ratio } = largestDeviation(whole[name], reference[name]);
    if (!(ratio <= 1))
      throw new Error(`${name} of an undisturbed step is ${ratio} times its bound off the reference`);
  }
  return whole;
}
