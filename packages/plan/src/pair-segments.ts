import { invariant } from '@ulysses/errors';
import type { PairSegments, Plan, RankTable, Segment } from './spec.js';

/**
 * What travels between one sequence owner and one rank: the rank's units, and its KV intervals, as far as the owner
 * holds their rows, in the table's order. Empty ones are left out.
 */
export function pairSegments({ spec }: Plan, table: RankTable, owner: number): PairSegments {
  invariant(
    Number.isInteger(owner) && owner >= 0 && owner < spec.qSplits.length,
    'an owner outside the plan',
    {
      field: 'owner',
      value: owner,
      expected: `0 to ${spec.qSplits.length - 1}`,
    },
  );
  const shardQ = shardRows(spec.qSplits, owner);
  const shardKv = shardRows(spec.kvSplits, owner);
  const q: Segment[] = [];
  table.units.forEach(({ batch, qHead, qBegin, qEnd }, index) => {
    const begin = Math.max(qBegin, shardQ.begin);
    const end = Math.min(qEnd, shardQ.end);
    if (begin < end) q.push({ index, batch, head: qHead, begin, end });
  });
  const kv: Segment[] = [];
  table.kvIntervals.forEach((interval, index) => {
    const begin = Math.max(interval.begin, shardKv.begin);
    const end = Math.min(interval.end, shardKv.end);
    if (begin < end) kv.push({ index, batch: interval.batch, head: interval.kvHead, begin, end });
  });
  return { q, kv };
}

function shardRows(splits: readonly number[], owner: number): { begin: number; end: number } {
  let begin = 0;
  for (let before = 0; before < owner; before++) begin += splits[before]!;
  return { begin, end: begin + splits[owner]! };
}
