import { addProduct, product, transpose } from './reference-matrix.js';
import type { Visible } from './reference-mask.js';
import type { Expected } from './error-bound.js';

/** Whole tensors of one attention call. q, dout [s_q, b, h, d]; k, v [s_kv, b, h_kv, d]. */
export interface AttentionInputs {
  readonly rows: number;
  readonly keys: number;
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly scale: number;
  readonly visible: Visible;
  readonly q: ArrayLike<number>;
  readonly k: ArrayLike<number>;
  readonly v: ArrayLike<number>;
  readonly dout: ArrayLike<number>;
}

/** out, dq [s_q, b, h, d]; lse [b, h, s_q]; dk, dv [s_kv, b, h_kv, d]. */
export interface AttentionReference {
  readonly out: Expected;
  readonly lse: Expected;
  readonly dq: Expected;
  readonly dk: Expected;
  readonly dv: Expected;
}

/** Query rows that are computed at once: memory is linear in s. */
const BLOCK_ROWS = 64;

/** A value and its B: the same computation with absolute values in place of every product and difference. */
interface Pair {
  readonly value: Float64Array;
  readonly size: Float64Array;
}

/**
 * Attention and its gradients in float64, by the textbook formulas:
 *
 *   s = scale q kᵀ    p = softmax(s)    out = p v    lse = log Σ exp s
 *   dv = pᵀ dout    dp = dout vᵀ    δ = Σ p dp    ds = scale p (dp - δ)    dq = ds k    dk = dsᵀ q
 *
 * dk and dv sum over the query heads that share a KV head. A row that sees no key has out = 0, lse = -Infinity.
 * For B the probabilities stay as they are, being positive: a rounded score changes p relative to p.
 */
export function referenceAttention(inputs: AttentionInputs): AttentionReference {
  const { rows, keys, batch, heads, kvHeads, headSize } = inputs;
  const qLike = (): Expected =>
    blank(rows * batch * heads * headSize, batch * heads, (i) => Math.floor(i / headSize) % (batch * heads));
  const kvLike = (): Expected =>
    blank(
      keys * batch * kvHeads * headSize,
      batch * kvHeads,
      (i) => Math.floor(i / headSize) % (batch * kvHeads),
    );
  const result = {
    out: qLike(),
    lse: blank(batch * heads * rows, batch * heads, (i) => Math.floor(i / rows)),
    dq: qLike(),
    dk: kvLike(),
    dv: kvLike(),
  };
  for (let sample = 0; sample < batch; sample++) {
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const column = sample * kvHeads + kvHead;
      const k = withSize(headOf(inputs.k, keys, batch * kvHeads, column, headSize));
      const v = withSize(headOf(inputs.v, keys, batch * kvHeads, column, headSize));
      const dk = zeros(keys * headSize);
      const dv = zeros(keys * headSize);
      const shared = heads / kvHeads;
      for (let head = kvHead * shared; head < (kvHead + 1) * shared; head++) {
        addHead(inputs, sample, head, k, v, dk, dv, result);
      }
      putHead(result.dk, dk, batch * kvHeads, column, headSize);
      putHead(result.dv, dv, batch * kvHeads, column, headSize);
    }
  }
  return result;
}

function addHead(
  inputs: AttentionInputs,
  sample: number,
  head: number,
  k: Pair,
  v: Pair,
  dk: Pair,
  dv: Pair,
  result: AttentionReference,
): void {
  const { rows, batch, heads, headSize: d } = inputs;
  const column = sample * heads + head;
  const q = withSize(headOf(inputs.q, rows, batch * heads, column, d));
  const dout = withSize(headOf(inputs.dout, rows, batch * heads, column, d));
  const out = zeros(rows * d);
  const dq = zeros(rows * d);
  for (let begin = 0; begin < rows; begin += BLOCK_ROWS) {
    const end = Math.min(rows, begin + BLOCK_ROWS);
    const m = end - begin;
    const block = visibleBlock(inputs, sample, begin, end);
    const n = block.end - block.begin;
    const qBlock = part(q, begin * d, end * d);
    const doutBlock = part(dout, begin * d, end * d);
    const kBlock = part(k, block.begin * d, block.end * d);
    const vBlock = part(v, block.begin * d, block.end * d);

    const scores = pairProduct(qBlock, transposed(kBlock, n, d), m, d, n);
    const p = softmax(scores, block.visible, m, n, inputs.scale, result.lse, column * rows + begin);
    addPair(part(out, begin * d, end * d), { value: p, size: p }, vBlock, m, n, d);

    const pT = transpose(p, m, n);
    addPair(part(dv, block.begin * d, block.end * d), { value: pT, size: pT }, doutBlock, n, m, d);
    const dp = pairProduct(doutBlock, transposed(vBlock, n, d), m, d, n);
    const ds = scoreGradient(p, dp, m, n, inputs.scale);
    addPair(part(dq, begin * d, end * d), ds, kBlock, m, n, d);
    addPair(part(dk, block.begin * d, block.end * d), transposed(ds, m, n), qBlock, n, m, d);
  }
  putHead(result.out, out, batch * heads, column, d);
  putHead(result.dq, dq, batch * heads, column, d);
}

/** The keys [begin, end) that rows of a block see, and for each (row, key) whether it is seen. */
function visibleBlock(
  { keys, visible }: AttentionInputs,
  sample: number,
  rowBegin: number,
  rowEnd: number,
): { begin: number; end: number; visible: Uint8Array } {
  let begin = keys;
  let end = 0;
  for (let row = rowBegin; row < rowEnd; row++) {
    for (let key = 0; key < keys; key++) {
      if (!visible(sample, row, key)) continue;
      begin = Math.min(begin, key);
      end = Math.max(end, key + 1);
    }
  }
  begin = Math.min(begin, end);
  const seen = new Uint8Array((rowEnd - rowBegin) * (end - begin));
  for (let row = rowBegin, at = 0; row < rowEnd; row++) {
    for (let key = begin; key < end; key++) seen[at++] = visible(sample, row, key) ? 1 : 0;
  }
  return { begin, end, visible: seen };
}

/** Probabilities [m, n] from q kᵀ; writes the block's lse, and as its B the log-sum-exp of the absolute scores. */
function softmax(
  scores: Pair,
  visible: Uint8Array,
  m: number,
  n: number,
  scale: number,
  lse: Expected,
  lseAt: number,
): Float64Array {
  const p = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    let largest = -Infinity;
    let largestSize = -Infinity;
    for (let x = i * n; x < (i + 1) * n; x++) {
      if (visible[x] === 0) continue;
      largest = Math.max(largest, scale * scores.value[x]!);
      largestSize = Math.max(largestSize, Math.abs(scale) * scores.size[x]!);
    }
    let sum = 0;
    let sumSize = 0;
    for (let x = i * n; x < (i + 1) * n; x++) {
      if (visible[x] === 0) continue;
      p[x] = Math.exp(scale * scores.value[x]! - largest);
      sum += p[x]!;
      sumSize += Math.exp(Math.abs(scale) * scores.size[x]! - largestSize);
    }
    for (let x = i * n; x < (i + 1) * n; x++) if (visible[x] === 1) p[x]! /= sum;
    lse.reference[lseAt + i] = sum === 0 ? -Infinity : largest + Math.log(sum);
    lse.magnitude[lseAt + i] = sum === 0 ? 0 : largestSize + Math.log(sumSize);
  }
  return p;
}

/** ds = scale p (dp - δ) with δ = Σ p dp over the row. */
function scoreGradient(p: Float64Array, dp: Pair, m: number, n: number, scale: number): Pair {
  const ds = zeros(m * n);
  for (let i = 0; i < m; i++) {
    let delta = 0;
    let deltaSize = 0;
    for (let x = i * n; x < (i + 1) * n; x++) {
      delta += p[x]! * dp.value[x]!;
      deltaSize += p[x]! * dp.size[x]!;
    }
    for (let x = i * n; x < (i + 1) * n; x++) {
      ds.value[x] = scale * p[x]! * (dp.value[x]! - delta);
      ds.size[x] = Math.abs(scale) * p[x]! * (dp.size[x]! + deltaSize);
    }
  }
  return ds;
}

const blank = (length: number, heads: number, headOf: (index: number) => number): Expected => ({
  reference: new Float64Array(length),
  magnitude: new Float64Array(length),
  heads,
  headOf,
});

const zeros = (length: number): Pair => ({ value: new Float64Array(length), size: new Float64Array(length) });
const withSize = (value: Float64Array): Pair => ({ value, size: value.map(Math.abs) });
const part = ({ value, size }: Pair, begin: number, end: number): Pair => ({
  value: value.subarray(begin, end),
  size: size.subarray(begin, end),
});
const transposed = ({ value, size }: Pair, m: number, n: number): Pair => ({
  value: transpose(value, m, n),
  size: transpose(size, m, n),
});
const pairProduct = (a: Pair, b: Pair, m: number, k: number, n: number): Pair => ({
  value: product(a.value, b.value, m, k, n),
  size: product(a.size, b.size, m, k, n),
});

function addPair(c: Pair, a: Pair, b: Pair, m: number, k: number, n: number): void {
  addProduct(c.value, a.value, b.value, m, k, n);
  addProduct(c.size, a.size, b.size, m, k, n);
}

/** [s, columns, d] -> the [s, d] of one column, where a column is one head of one sample. */
function headOf(
  tensor: ArrayLike<number>,
  rows: number,
  columns: number,
  column: number,
  d: number,
): Float64Array {
  const head = new Float64Array(rows * d);
  for (let row = 0; row < rows; row++) {
    for (let x = 0; x < d; x++) head[row * d + x] = tensor[(row * columns + column) * d + x]!;
  }
  return head;
}

/** The inverse of `headOf`, for a value and its B. */
function putHead(into: Expected, head: Pair, columns: number, column: number, d: number): void {
  for (let i = 0; i < head.value.length; i++) {
    const at = (Math.floor(i / d) * columns + column) * d + (i % d);
    into.reference[at] = head.value[i]!;
    into.magnitude[at] = head.size[i]!;
  }
}
