import { foldPartials, type Region, type Rows } from '@ulysses/native';
import { kvOffsetBytes, segmentOffsets, type OwnerExchange, type PartialSums } from './sequence-owner.js';

/** Rows [begin, end) of one KV head and, in rank order, where each rank's partial sums of them start. */
interface FoldRun {
  readonly batch: number;
  readonly head: number;
  readonly begin: number;
  readonly end: number;
  readonly sources: readonly { readonly rank: number; readonly row: number }[];
}

/**
 * Sums the ranks' float32 partial dk and dv into the owner's shards, in rank order whatever arrived first, and rounds once
 * to the step's dtype. Rows that no rank computed stay zero.
 */
export async function foldGradients(
  exchange: OwnerExchange,
  partials: readonly PartialSums[],
  results: { dk: Region; dv: Region },
): Promise<void> {
  const { dtype, headSize } = exchange.plan.spec;
  const folds: Promise<void>[] = [];
  for (const run of foldRuns(exchange)) {
    for (const tensor of ['dk', 'dv'] as const) {
      folds.push(
        foldPartials({
          dtype,
          headSize,
          rows: run.end - run.begin,
          target: {
            region: results[tensor],
            offsetBytes: kvOffsetBytes(exchange, run.batch, run.head, run.begin),
            rowStride: exchange.kv.strides.row,
          },
          partials: run.sources.flatMap(({ rank, row }): Rows[] => {
            const region = partials[rank]?.[tensor];
            return region === undefined
              ? []
              : [{ region, offsetBytes: row * headSize * 4, rowStride: headSize }];
          }),
        }),
      );
    }
  }
  await Promise.all(folds);
}

/** Cuts every (batch, KV head) where the set of contributing ranks changes. */
export function foldRuns({ byRank, plan }: OwnerExchange): FoldRun[] {
  const heads = new Map<number, { rank: number; begin: number; end: number; row: number }[]>();
  byRank.forEach(({ kv }, rank) => {
    const offsets = segmentOffsets(kv);
    kv.forEach(({ batch, head, begin, end }, number) => {
      const line = batch * plan.spec.kvHeads + head;
      const pieces = heads.get(line) ?? [];
      pieces.push({ rank, begin, end, row: offsets[number] ?? 0 });
      heads.set(line, pieces);
    });
  });
  const runs: FoldRun[] = [];
  for (const [line, pieces] of heads) {
    const edges = [...new Set(pieces.flatMap(({ begin, end }) => [begin, end]))].sort((a, b) => a - b);
    for (let i = 0; i + 1 < edges.length; i++) {
      const begin = edges[i] ?? 0;
      const end = edges[i + 1] ?? 0;
      const sources = pieces
        .filter((piece) => piece.begin <= begin && end <= piece.end)
        .map((piece) => ({ rank: piece.rank, row: piece.row + begin - piece.begin }));
      if (sources.length === 0) continue;
      const batch = Math.floor(line / plan.spec.kvHeads);
      runs.push({ batch, head: line % plan.spec.kvHeads, begin, end, sources });
    }
  }
  return runs;
}
