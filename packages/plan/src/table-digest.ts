import { createHash } from 'node:crypto';
import type { Granule } from './granules.js';
import { pairSegments } from './pair-segments.js';
import { rankTables } from './rank-table.js';
import type { Plan, RankTable } from './spec.js';

/**
 * sha256, in lower-case hexadecimal, of a table as ASCII lines: `unit batch q_head q_begin q_end kv_interval` for every
 * unit, then `kv batch kv_head begin end` for every KV interval, each ended by a line feed. Test vectors hold it.
 */
export function tableDigest({ units, kvIntervals, kvIntervalOfUnit }: RankTable): string {
  const hash = createHash('sha256');
  units.forEach(({ batch, qHead, qBegin, qEnd }, index) => {
    hash.update(`unit ${batch} ${qHead} ${qBegin} ${qEnd} ${kvIntervalOfUnit[index]!}\n`);
  });
  for (const { batch, kvHead, begin, end } of kvIntervals)
    hash.update(`kv ${batch} ${kvHead} ${begin} ${end}\n`);
  return hash.digest('hex');
}

/**
 * The same of everything that travels between one owner and the ranks, in rank order: `rank r`, then
 * `q index batch head begin end` for every segment of q-like tensors and `kv …` for every segment of k-like ones.
 */
export function segmentsDigest(plan: Plan, owner: number): string {
  const hash = createHash('sha256');
  for (const table of rankTables(plan)) {
    hash.update(`rank ${table.rank}\n`);
    for (const [name, segments] of Object.entries(pairSegments(plan, table, owner))) {
      for (const { index, batch, head, begin, end } of segments) {
        hash.update(`${name} ${index} ${batch} ${head} ${begin} ${end}\n`);
      }
    }
  }
  return hash.digest('hex');
}

/** The same of a rank's granules: `granule unit q_begin q_end kv_begin kv_end`, and `- -` for rows that see no keys. */
export function granulesDigest(granules: readonly Granule[]): string {
  const hash = createHash('sha256');
  for (const { unit, qBegin, qEnd, keys } of granules) {
    hash.update(`granule ${unit} ${qBegin} ${qEnd} ${keys?.begin ?? '-'} ${keys?.end ?? '-'}\n`);
  }
  return hash.digest('hex');
}
