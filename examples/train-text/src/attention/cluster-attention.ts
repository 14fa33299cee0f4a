import {
  connect,
  DynamicGatherSizeCalculator,
  UlyssesContextAttention,
  type ConnectOptions,
  type TensorView,
} from '@ulysses/client';
import { decodeElements, encodeElements } from '@ulysses/tensor';
import type { Tensor } from '../model/tensor.js';
import type { Attention, AttentionForm, HeadShape } from './attention.js';

/**
 * Attention on a cluster: this process holds the whole text, the ranks compute it, unaligned, at whatever length it
 * has. Null core attention means the ranks' own devices. A step that fails because a rank was lost is repeated by the
 * client, which tells `connection.onReplay` why.
 */
export async function connectClusterAttention(
  connection: ConnectOptions,
  shape: HeadShape,
  { dtype, layout, window }: AttentionForm,
): Promise<Attention> {
  const cluster = await connect({ ...connection, job: 'train-text' });
  const attention = new UlyssesContextAttention(null, cluster, {
    gatherSizeCalculator: new DynamicGatherSizeCalculator(),
    causal: true,
    mask: { left: window },
  });

  /** [s, heads * d] as [s, 1, heads, d], [1, s, heads, d] or [s, heads, d]. */
  const view = ({ data, rows }: Tensor, heads: number): TensorView => ({
    data: encodeElements(data, dtype),
    dtype,
    extents: { layout, rows, batch: 1, heads, headSize: shape.headSize },
  });
  const copy = (from: TensorView, to: Tensor): void => {
    to.data.set(decodeElements(from.data, dtype));
  };

  return {
    async forward({ q, k, v }, out, signal) {
      const attentionMaskLengths = [q.rows];
      const step = await attention.forward(
        view(q, shape.heads),
        view(k, shape.kvHeads),
        view(v, shape.kvHeads),
        { attentionMaskLengths, signal },
      );
      copy(step.out, out);
      step.freeResults();
      return {
        report: step.report,
        async backward(dout, { dq, dk, dv }, backwardSignal) {
          const gradients = await step.backward(view(dout, shape.heads), { signal: backwardSignal });
          copy(gradients.dq, dq);
          copy(gradients.dk, dk);
          copy(gradients.dv, dv);
          return gradients.report;
        },
      };
    },
    close: () => cluster.close(),
  };
}
