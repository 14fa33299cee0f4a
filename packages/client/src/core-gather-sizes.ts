import { fieldError } from '@ulysses/errors';
import { DynamicGatherSizeCalculator } from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';

/** How long the gathered sequences are; null: as long as all shards together. */
export interface CoreGatherSizes {
  readonly q: number | null;
  readonly kv: number | null;
  readonly aligned: boolean;
}

/**
 * The gather sizes of exchanges around a core attention. No coordinator's calculator runs for them: all known ones run here.
 *
 * @throws UNSUPPORTED when the view leaves the choice to the coordinator
 */
export function coreGatherSizes(view: StepView): CoreGatherSizes {
  const { gatherSizeQ: q, gatherSizeKv: kv } = view;
  if (view.clientCalculator !== null) return { q, kv, aligned: q === null || kv === null };
  switch (view.gatherSizeCalculator) {
    case 'default':
      return { q: null, kv: null, aligned: true };
    case 'dynamic': {
      const { attentionMaskLengths, attentionMaskExtent, layout } = view;
      if (attentionMaskLengths === null && attentionMaskExtent === null) {
        return { q: null, kv: null, aligned: false };
      }
      // The shards of the other owners do not matter: the mask says it all.
      const size = new DynamicGatherSizeCalculator().calculate({
        tensor: 'q',
        shardRows: [],
        attentionMaskLengths,
        attentionMaskExtent,
        layout,
        kwargs: {},
      });
      // It says it of keys: of other queries every row counts.
      return { q: view.qRows === view.kvRows ? size : null, kv: size, aligned: false };
    }
    default:
      throw fieldError(
        'UNSUPPORTED',
        'gatherSizeCalculator',
        view.gatherSizeCalculator,
        "a calculator with a core attention of your own: the coordinator's serves the ranks' devices",
      );
  }
}
