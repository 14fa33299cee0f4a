import type { TensorView } from '@ulysses/client';
import { decodeElements, encodeElements, type DType, type Layout } from '@ulysses/tensor';
import type { StepInputs } from './step-inputs.js';

/** How tensors travel in a test; references are always [s, b, h, d] in float32. */
export interface TensorForm {
  readonly dtype: DType;
  readonly layout: Layout;
}

/** An [s, b, h, d] float32 tensor, rounded to a dtype and laid out anew. */
export function toForm(view: TensorView, { dtype, layout }: TensorForm): TensorView {
  const values = reorder(view.data, view, (sbhd, laidOut) => [sbhd, laidOut(layout)]);
  return { data: encodeElements(values, dtype), dtype, extents: { ...view.extents, layout } };
}

/** The inverse: [s, b, h, d] in float32. */
export function fromForm(view: TensorView): TensorView {
  const { dtype, extents } = view;
  const data = reorder(decodeElements(view.data, dtype), view, (sbhd, laidOut) => [
    laidOut(extents.layout),
    sbhd,
  ]);
  return { data, dtype: 'f32', extents: { ...extents, layout: 'sbhd' } };
}

/** What a tensor is after it was rounded to a dtype: the reference computes with these values. */
function rounded(view: TensorView, dtype: DType): TensorView {
  return fromForm(toForm(view, { dtype, layout: 'sbhd' }));
}

/** All inputs of a step, rounded to a dtype. */
export function roundedInputs({ q, k, v, dout }: StepInputs, dtype: DType): StepInputs {
  return { q: rounded(q, dtype), k: rounded(k, dtype), v: rounded(v, dtype), dout: rounded(dout, dtype) };
}

/** Copies rows of d elements; `move` says from which row to which, as [s, b, h] and as any layout has it. */
function reorder(
  source: ArrayLike<number>,
  { extents }: TensorView,
  move: (sbhd: number, laidOut: (layout: Layout) => number) => readonly [from: number, to: number],
): Float32Array {
  const { rows, batch, heads, headSize } = extents;
  const target = new Float32Array(source.length);
  for (let row = 0; row < rows; row++) {
    for (let sample = 0; sample < batch; sample++) {
      for (let head = 0; head < heads; head++) {
        const sbhd = (row * batch + sample) * heads + head;
        const bshd = (sample * rows + row) * heads + head;
        const [from, to] = move(sbhd, (layout) => (layout === 'bshd' ? bshd : sbhd));
        for (let i = 0; i < headSize; i++) target[to * headSize + i] = source[from * headSize + i] ?? NaN;
      }
    }
  }
  return target;
}
