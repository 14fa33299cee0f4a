import { createHash } from 'node:crypto';
import type { RowRange, StepSpec } from './spec.js';

/** Changes whenever the same spec and cuts would mean other units, KV intervals or segments. */
export const PLANNER_VERSION = 1;

/** sha256, in lower-case hexadecimal, of `planText` in ASCII. */
export function planIdOf(spec: StepSpec, cpSize: number, cuts: readonly number[]): string {
  return createHash('sha256')
    .update(planText(spec, cpSize, cuts), 'latin1')
    .digest('hex');
}

/**
 * What the plan id is the hash of: lines in this order, each `name value` and a line feed.
 *
 * - Integers are decimal, without sign, leading zeros or exponent. Words (dtype, layout, strategy) are lower case.
 * - Reals are the 16 lower-case hexadecimal digits of their float64 bytes, little-endian (`struct.pack('<d', x).hex()`).
 * - A list is its number of entries and the entries, separated by single spaces; a range is two entries, begin and end,
 *   and counts as one.
 * - An absent value (null) is `-`.
 */
export function planText(spec: StepSpec, cpSize: number, cuts: readonly number[]): string {
  const { mask } = spec;
  const lines: [name: string, value: string][] = [
    ['ulysses_plan', String(PLANNER_VERSION)],
    ['dtype', spec.dtype],
    ['layout', spec.layout],
    ['batch', String(spec.batch)],
    ['q_heads', String(spec.qHeads)],
    ['kv_heads', String(spec.kvHeads)],
    ['head_size', String(spec.headSize)],
    ['q_splits', list(spec.qSplits)],
    ['kv_splits', list(spec.kvSplits)],
    ['mask_left', mask.left === null ? '-' : String(mask.left)],
    ['mask_right', mask.right === null ? '-' : String(mask.right)],
    ['cu_seqlens_q', mask.segments === null ? '-' : list(mask.segments.cuSeqlensQ)],
    ['cu_seqlens_kv', mask.segments === null ? '-' : list(mask.segments.cuSeqlensKv)],
    ['valid_q', mask.validRanges === null ? '-' : list(mask.validRanges.q.map(range))],
    ['valid_kv', mask.validRanges === null ? '-' : list(mask.validRanges.kv.map(range))],
    ['scale', float64Hex(spec.scale)],
    ['strategy', spec.strategy],
    ['weights', spec.weights === null ? '-' : list(spec.weights.map(float64Hex))],
    ['cp_size', String(cpSize)],
    ['cuts', list(cuts)],
  ];
  return lines.map(([name, value]) => `${name} ${value}\n`).join('');
}

function list(entries: readonly (number | string)[]): string {
  return [entries.length, ...entries].join(' ');
}

function range({ begin, end }: RowRange): string {
  return `${begin} ${end}`;
}

function float64Hex(value: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes.toString('hex');
}
