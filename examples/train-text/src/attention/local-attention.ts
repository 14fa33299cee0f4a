import { attentionBackward, attentionForward, type ForwardUnit, type Rows } from '@ulysses/native';
import { allocate, type Tensor } from '../model/tensor.js';
import type { Attention, HeadShape } from './attention.js';

/** Attention on one device: every head of the whole text is one unit, in place, nothing is exchanged. */
export function createLocalAttention(shape: HeadShape, threads: number): Attention {
  const { heads, kvHeads, headSize } = shape;
  const job = { dtype: 'f32', headSize, scale: 1 / Math.sqrt(headSize), threads } as const;

  /** The rows of one head of a tensor [s, heads * d]. */
  const rowsOf = ({ region, columns }: Tensor, head: number): Rows => ({
    region,
    offsetBytes: head * headSize * Float32Array.BYTES_PER_ELEMENT,
    rowStride: columns,
  });

  return {
    async forward({ q, k, v }, out, signal) {
      const rows = q.rows;
      const lse = allocate(heads, rows);
      const bounds = causalBounds(rows);
      const kvHeadOf = (head: number): number => Math.floor((head * kvHeads) / heads);
      const units = Array.from({ length: heads }, (_, head): ForwardUnit => {
        const kvHead = kvHeadOf(head);
        return {
          rows,
          kvRows: rows,
          bounds,
          q: rowsOf(q, head),
          k: rowsOf(k, kvHead),
          v: rowsOf(v, kvHead),
          out: rowsOf(out, head),
          lse: {
            region: lse.region,
            offsetBytes: head * rows * Float32Array.BYTES_PER_ELEMENT,
            rowStride: 1,
          },
        };
      });
      await attentionForward(job, units, { signal });
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
          const backwardUnits = units.map((unit, head) => ({
            ...unit,
            dout: rowsOf(dout, head),
            dq: rowsOf(dq, head),
            dk: rowsOf(dk, kvHeadOf(head)),
            dv: rowsOf(dv, kvHeadOf(head)),
          }));
          await attentionBackward(job, backwardUnits, { signal: backwardSignal });
          return report;
        },
      };
    },
    close: () => Promise.resolve(),
  };
}

/** [rows, 2]: row i sees the keys [0, i + 1). */
function causalBounds(rows: number): Int32Array {
  const bounds = new Int32Array(rows * 2);
  for (let row = 0; row < rows; row++) bounds[2 * row + 1] = row + 1;
  return bounds;
}
