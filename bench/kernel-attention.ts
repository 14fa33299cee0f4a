import { attentionBackward, attentionForward, Region, type BackwardUnit, type Rows } from '@ulysses/native';
import { rowBounds, type Mask } from '@ulysses/plan';
import { elementBytes, type DType } from '@ulysses/tensor';

export interface AttentionShape {
  readonly dtype: DType;
  readonly s: number;
  readonly d: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly mask: Mask;
}

type TensorName = 'q' | 'k' | 'v' | 'dout' | 'out' | 'dq' | 'dk' | 'dv' | 'lse';

/** Attention of every row of every head on the device of this process. Tensors are [heads, s, d]. */
export class KernelAttention {
  /** (row, key) pairs that the mask leaves, over all heads. */
  readonly visiblePairs: number;
  readonly regions: Readonly<Record<TensorName, Region>>;
  readonly #shape: AttentionShape;
  readonly #units: readonly BackwardUnit[];

  constructor(shape: AttentionShape) {
    const { dtype, s, d, heads, kvHeads, mask } = shape;
    const bytes = elementBytes(dtype);
    const allocate = (count: number, size: number): Region => Region.allocate(count * s * d * size);
    const regions = {
      q: allocate(heads, bytes),
      k: allocate(kvHeads, bytes),
      v: allocate(kvHeads, bytes),
      dout: allocate(heads, bytes),
      out: allocate(heads, bytes),
      dq: allocate(heads, bytes),
      dk: allocate(kvHeads, 4),
      dv: allocate(kvHeads, 4),
      lse: Region.allocate(heads * s * 4),
    };
    for (const name of ['q', 'k', 'v', 'dout'] as const) fill(regions[name], dtype);
    const bounds = boundsOf(shape, mask);
    this.#shape = shape;
    this.regions = regions;
    this.visiblePairs = heads * bounds.reduce((sum, key, i) => (i % 2 === 0 ? sum - key : sum + key), 0);
    this.#units = Array.from({ length: heads }, (_, head): BackwardUnit => {
      const kvHead = Math.floor((head * kvHeads) / heads);
      const rowsOf = (name: TensorName, of: number, size: number, width = d): Rows => ({
        region: regions[name],
        offsetBytes: of * s * width * size,
        rowStride: width,
      });
      return {
        rows: s,
        kvRows: s,
        bounds,
        q: rowsOf('q', head, bytes),
        k: rowsOf('k', kvHead, bytes),
        v: rowsOf('v', kvHead, bytes),
        out: rowsOf('out', head, bytes),
        lse: rowsOf('lse', head, 4, 1),
        dout: rowsOf('dout', head, bytes),
        dq: rowsOf('dq', head, bytes),
        dk: rowsOf('dk', kvHead, 4),
        dv: rowsOf('dv', kvHead, 4),
      };
    });
  }

  async forward(threads: number): Promise<void> {
    await attentionForward(this.#job(threads), this.#units);
  }

  /** Adds to dk and dv; needs a forward before. */
  async backward(threads: number): Promise<void> {
    await attentionBackward(this.#job(threads), this.#units);
  }

  free(): void {
    for (const region of Object.values(this.regions)) region.free();
  }

  #job(threads: number): { dtype: DType; headSize: number; scale: number; threads: number } {
    const { dtype, d } = this.#shape;
    return { dtype, headSize: d, scale: Math.fround(1 / Math.sqrt(d)), threads };
  }
}

function boundsOf({ dtype, s, d, heads, kvHeads }: AttentionShape, mask: Mask): Int32Array {
  const spec = {
    dtype,
    layout: mask.segments === null ? 'bshd' : 'thd',
    batch: 1,
    qHeads: heads,
    kvHeads,
    headSize: d,
    qSplits: [s],
    kvSplits: [s],
    mask,
    scale: 1,
    strategy: 'heads',
    weights: null,
  } as const;
  return rowBounds(spec, 0, 0, s, 0);
}

/** Values of either sign between 0.5 and 1, in no order; 16-bit ones by their bits: exponent fixed, the rest any. */
function fill(region: Region, dtype: DType): void {
  let state = 1;
  const next = (): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0);
  if (dtype === 'f32') {
    const values = region.float32();
    for (let i = 0; i < values.length; i++) values[i] = (next() / 2 ** 33 + 0.5) * (next() & 256 ? 1 : -1);
    return;
  }
  const [exponent, any] = dtype === 'bf16' ? [0x3f00, 0x807f] : [0x3800, 0x83ff];
  const { bytes } = region;
  const values = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = exponent | ((next() >>> 16) & any);
}
