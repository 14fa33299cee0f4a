import type { CoreAttention, TensorView } from '@ulysses/client';
import { decodeElements, encodeElements, rowStrides, type DType } from '@ulysses/tensor';
import { visibleBy } from './reference-mask.js';

/** Which dtype the core returns dk and dv in. */
interface PlainOptions {
  readonly gradientDType?: DType;
  /** Hears of every call. */
  readonly onCall?: (heads: { readonly q: number; readonly kv: number }) => void;
  /** Awaited before anything is computed. */
  readonly before?: () => Promise<void>;
}

/** One head's rows as float64 numbers, read from and written to a tensor of any layout. */
function headOf(view: TensorView, values: Float32Array, batch: number, head: number): Float64Array[] {
  const { row, batch: sample, head: column } = rowStrides(view.extents);
  return Array.from({ length: view.extents.rows }, (_, i) => {
    const begin = i * row + batch * sample + head * column;
    return Float64Array.from(values.subarray(begin, begin + view.extents.headSize));
  });
}

/** What a trainer may bring: textbook attention in float64, forward and backward, one head after the other. */
export function plainCoreAttention(options: PlainOptions = {}): CoreAttention {
  return async (q, k, v, { kvHeadOfQHead, mask, scale }) => {
    options.onCall?.({ q: q.extents.heads, kv: k.extents.heads });
    await options.before?.();
    const visible = visibleBy(mask, q.extents.rows, k.extents.rows);
    const [qs, ks, vs] = [q, k, v].map(({ data, dtype }) => decodeElements(data, dtype));
    const rounded = (like: TensorView, values: Float32Array, dtype = like.dtype): TensorView => ({
      data: encodeElements(values, dtype),
      dtype,
      extents: like.extents,
    });
    /** Calls `each` with every head's q, k, v and its probabilities. */
    const everyHead = (each: (head: HeadStep) => void): void => {
      for (let batch = 0; batch < q.extents.batch; batch++) {
        kvHeadOfQHead.forEach((kvHead, head) => {
          const rows = headOf(q, qs!, batch, head);
          const keys = headOf(k, ks!, batch, kvHead);
          const values = headOf(v, vs!, batch, kvHead);
          const p = rows.map((row, i) => {
            const scores = keys.map((key, j) => (visible(batch, i, j) ? scale * dot(row, key) : -Infinity));
            const largest = Math.max(...scores);
            if (largest === -Infinity) return scores.map(() => 0);
            const weights = scores.map((score) => Math.exp(score - largest));
            const sum = weights.reduce((a, b) => a + b, 0);
            return weights.map((weight) => weight / sum);
          });
          each({ batch, head, kvHead, rows, keys, values, p });
        });
      }
    };
    const out = new Float32Array(qs!.length);
    everyHead(({ batch, head, values, p }) => {
      p.forEach((weights, i) => {
        weights.forEach((weight, j) => {
          add(out, q, batch, head, i, values[j]!, weight);
        });
      });
    });
    return {
      out: rounded(q, out),
      backward: (dout) => {
        const douts = decodeElements(dout.data, dout.dtype);
        const [dq, dk, dv] = [
          new Float32Array(qs!.length),
          new Float32Array(ks!.length),
          new Float32Array(vs!.length),
        ];
        everyHead(({ batch, head, kvHead, rows, keys, values, p }) => {
          headOf(dout, douts, batch, head).forEach((gradient, i) => {
            const dp = values.map((value) => dot(gradient, value));
            const delta = p[i]!.reduce((sum, weight, j) => sum + weight * dp[j]!, 0);
            p[i]!.forEach((weight, j) => {
              const ds = scale * weight * (dp[j]! - delta);
              add(dq, q, batch, head, i, keys[j]!, ds);
              add(dk, k, batch, kvHead, j, rows[i]!, ds);
              add(dv, v, batch, kvHead, j, gradient, weight);
            });
          });
        });
        const dtype = options.gradientDType ?? 'f32';
        return Promise.resolve({ dq: rounded(q, dq), dk: rounded(k, dk, dtype), dv: rounded(v, dv, dtype) });
      },
    };
  };
}

interface HeadStep {
  readonly batch: number;
  readonly head: number;
  readonly kvHead: number;
  readonly rows: readonly Float64Array[];
  readonly keys: readonly Float64Array[];
  readonly values: readonly Float64Array[];
  readonly p: readonly (readonly number[])[];
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function add(
  target: Float32Array,
  { extents }: TensorView,
  batch: number,
  head: number,
  row: number,
  vector: Float64Array,
  factor: number,
): void {
  const strides = rowStrides(extents);
  const begin = row * strides.row + batch * strides.batch + head * strides.head;
  for (let i = 0; i < vector.length; i++) target[begin + i]! += factor * vector[i]!;
}
