import type { WholeResult } from './cluster-step.js';
import type { InputShape } from './step-inputs.js';

/** The share of one owner in the expected result of a pass, tensor by tensor: [out, lse] or [dq, dk, dv]. */
export function shareOf(
  whole: WholeResult,
  shape: InputShape,
  pass: 'forward' | 'backward',
  begin: number,
  end: number,
): Float32Array[] {
  const rows = (tensor: Float32Array): Float32Array => {
    const row = tensor.length / shape.rows;
    return tensor.subarray(begin * row, end * row);
  };
  if (pass === 'backward') return [whole.dq, whole.dk, whole.dv].map(rows);
  // [b, h, s] -> [b, h, s_local]
  const lines = whole.lse.length / shape.rows;
  const lse = Array.from({ length: lines }, (_, line) => {
    return [...whole.lse.subarray(line * shape.rows + begin, line * shape.rows + end)];
  });
  return [rows(whole.out), Float32Array.from(lse.flat())];
}
