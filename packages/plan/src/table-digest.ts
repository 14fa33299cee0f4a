import { createHash } from 'node:crypto';
import type { RankTable } from './spec.js';

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
