import { attentionBackward, attentionForward, Region, type ForwardUnit, type Rows } from '@ulysses/native';
import { decodeElements, elementBytes, encodeElements } from '@ulysses/tensor';
import { allocate, type Tensor } from '../model/tensor.js';
import type { Attention, AttentionForm, HeadShape } from './attention.js';

/** Attention on one device: every head of the whole text is one unit, nothing is exchanged. */
export function createLocalAttention(
  shape: HeadShape,
  { dtype, window }: Omit<AttentionForm, 'layout'>,
  threads: number,
): Attention {
  const { heads, kvHeads, headSize } = shape;
  const scale = 1 / Math.sqrt(headSize);
  const job = { dtype, headSize, scale, threads };
  const kvHeadOf = (head: number): number => Math.floor((head * kvHeads) / heads);

  /** A tensor [rows, heads * d] in the job's dtype; float32 is where it was. */
  const rounded = (tensor: Tensor): Region => {
    if (dtype === 'f32') return tensor.region;
    const elements = encodeElements(tensor.data, dtype);
    const region = Region.allocate(elements.byteLength);
    region.bytes.set(new Uint8Array(elements.buffer));
    return region;
  };
  /** Where a result in the job's dtype goes before `store` widens it. */
  const blank = ({ region, data }: Tensor): Region =>
    dtype === 'f32' ? region : Region.allocate(data.length * elementBytes(dtype));
  const store = (region: Region, to: Tensor): void => {
    if (dtype === 'f32') return;
    const { buffer, byteOffset } = region.bytes;
    to.data.set(decodeElements(new Uint16Array(buffer, byteOffset, to.data.length), dtype));
  };
  const free = (regions: Record<string, Region>): void => {
    if (dtype !== 'f32') for (const region of Object.values(regions)) region.free();
  };
  /** Sums in float32, rounded once, as a cluster's are. */
  const round = ({ data }: Tensor): void => {
    data.set(decodeElements(encodeElements(data, dtype), dtype));
  };

  /** The rows of one head of a tensor [s, columns] whose elements have `bytes` bytes. */
  const rowsOf = (region: Region, columns: number, head: number, bytes = elementBytes(dtype)): Rows => ({
    region,
    offsetBytes: head * headSize * bytes,
    rowStride: columns,
  });

  return {
    async forward({ q, k, v }, out, signal) {
      const rows = q.rows;
      const lse = allocate(heads, rows);
      const bounds = causalBounds(rows, window);
      const inputs = { q: rounded(q), k: rounded(k), v: rounded(v), out: blank(out) };
      const units = Array.from({ length: heads }, (_, head): ForwardUnit => {
        const kvHead = kvHeadOf(head);
        return {
          rows,
          kvRows: rows,
          bounds,
          q: rowsOf(inputs.q, q.columns, head),
          k: rowsOf(inputs.k, k.columns, kvHead),
          v: rowsOf(inputs.v, v.columns, kvHead),
          out: rowsOf(inputs.out, out.columns, head),
          lse: {
            region: lse.region,
            offsetBytes: head * rows * Float32Array.BYTES_PER_ELEMENT,
            rowStride: 1,
          },
        };
      });
      await attentionForward(job, units, { signal });
      store(inputs.out, out);
      const report = {
        gatherSize: rows,
        rowsPerRank: [rows * heads],
        headsPerRank: [heads],
        bytesExchanged: 0,
      };
      return {
        report,
        async backward(dout, { dq, dk, dv }, backwardSignal) {
          // Heads that share a KV head add to the same rows.
          dk.data.fill(0);
          dv.data.fill(0);
          const gradients = { dout: rounded(dout), dq: blank(dq) };
          const backwardUnits = units.map((unit, head) => ({
            ...unit,
            dout: rowsOf(gradients.dout, dout.columns, head),
            dq: rowsOf(gradients.dq, dq.columns, head),
            dk: rowsOf(dk.region, dk.columns, kvHeadOf(head), Float32Array.BYTES_PER_ELEMENT),
            dv: rowsOf(dv.region, dv.columns, kvHeadOf(head), Float32Array.BYTES_PER_ELEMENT),
          }));
          await attentionBackward(job, backwardUnits, { signal: backwardSignal });
          store(gradients.dq, dq);
          round(dk);
          round(dv);
          free(inputs);
          free(gradients);
          return report;
        },
      };
    },
    close: () => Promise.resolve(),
  };
}

/** [rows, 2]: row i sees itself and the keys before it, at most `window` of them. */
function causalBounds(rows: number, window: number | null): Int32Array {
  const bounds = new Int32Array(rows * 2);
  for (let row = 0; row < rows; row++) {
    bounds[2 * row] = window === null ? 0 : Math.max(0, row - window);
    bounds[2 * row + 1] = row + 1;
  }
  return bounds;
}
