import { fieldError, type ErrorCode, type UlyssesError } from '@ulysses/errors';
import { DTYPES, LAYOUTS } from '@ulysses/tensor';
import { KEEPS, KV_CACHE_CHOICES } from './kv-cache.js';
import { STRATEGIES } from './spec.js';

/** Largest head size that the kernels take. */
export const MAX_HEAD_SIZE = 256;
/** Every lane, a query head of a sample, is a unit at least: planning takes time and memory in proportion. */
export const MAX_LANES = 2 ** 16;
/** Kernels address rows with int32. */
export const MAX_ROWS = 2 ** 31 - 1;

export interface Supported {
  /** What the field is. */
  readonly what: string;
  /** What it may be; errors say the same. */
  readonly accepted: string;
  /** What anything else is refused with. */
  readonly code: ErrorCode;
}

const oneOf = (values: readonly string[]): string => `one of ${values.join(', ')}`;

/** What a step may be, field by field: checks refuse with these words, and docs/supported.md is made of them. */
export const SUPPORTED = {
  dtype: {
    what: 'Elements of q, k, v, out and of the gradients. Sums, LSE and what ranks add up are float32',
    accepted: oneOf(DTYPES),
    code: 'UNSUPPORTED',
  },
  layout: {
    what: 'Order of dimensions; `thd` is packed',
    accepted: oneOf(LAYOUTS),
    code: 'UNSUPPORTED',
  },
  batch: {
    what: 'Samples; in layout `thd` and with segments they lie on the row axis',
    accepted: 'an integer of at least 1; 1 in layout thd and with segments',
    code: 'SHAPE_MISMATCH',
  },
  rows: {
    what: 'Rows of the whole sequence, queries and keys each, cut over the owners in any way, empty shares included',
    accepted: `sizes with a sum of 1 to ${MAX_ROWS}`,
    code: 'SHAPE_MISMATCH',
  },
  qHeads: {
    what: 'Query heads, whether they divide by the ranks or not',
    accepted: `an integer of at least 1, with batch * qHeads at most ${MAX_LANES}`,
    code: 'SHAPE_MISMATCH',
  },
  kvHeads: {
    what: 'KV heads: multi-head, grouped-query and multi-query attention, fewer than ranks or more',
    accepted: 'a divisor of qHeads',
    code: 'SHAPE_MISMATCH',
  },
  headSize: {
    what: 'Elements of a head',
    accepted: `an integer from 1 to ${MAX_HEAD_SIZE}`,
    code: 'UNSUPPORTED',
  },
  scale: {
    what: 'Softmax scale; 1 / sqrt(headSize) by default',
    accepted: 'a finite float32 other than -0',
    code: 'SHAPE_MISMATCH',
  },
  strategy: {
    what: 'How work is cut: whole heads, or equal visible work',
    accepted: oneOf(STRATEGIES),
    code: 'UNSUPPORTED',
  },
  weights: {
    what: 'Relative speed of the ranks, with strategy `balanced`',
    accepted: 'one non-negative number per rank, with a sum above 0 and below 2^53',
    code: 'SHAPE_MISMATCH',
  },
  'mask.left': {
    what: 'Keys before the diagonal that a row sees; all when absent',
    accepted: 'an integer of at least 0',
    code: 'SHAPE_MISMATCH',
  },
  'mask.right': {
    what: 'Keys after the diagonal; 0 is causal. With s_q != s_kv the diagonal ends at the bottom right',
    accepted: 'an integer of at least 0',
    code: 'SHAPE_MISMATCH',
  },
  'mask.segments': {
    what: 'Packed samples as running sums (`cu_seqlens`) of queries and of keys; goes with left and right',
    accepted: 'sums that start at 0, never decrease and end at the rows; not together with validRanges',
    code: 'SHAPE_MISMATCH',
  },
  'mask.validRanges': {
    what: 'The rows and keys of each sample that are not padding, which may be left or right; goes with left and right',
    accepted: 'one range [begin, end) within the rows per sample; not together with segments',
    code: 'SHAPE_MISMATCH',
  },
  attentionMask: {
    what: 'A boolean mask, [s], [b, s] or [b, 1, s_q, s_kv], said exactly in the fields above or refused by row',
    accepted: 'a band around the diagonal, together with packed segments or one valid range per sample',
    code: 'UNSUPPORTED',
  },
  keep: {
    what: 'What is kept between forward and backward: on the ranks, or nothing with inputs sent again, or nothing and no backward',
    accepted: oneOf(KEEPS),
    code: 'UNSUPPORTED',
  },
  kvCachePolicy: {
    what: 'How much of K and V ranks do not keep, but get again in backward; `half` and `full` align the exchange unless told not to',
    accepted: oneOf(KV_CACHE_CHOICES),
    code: 'UNSUPPORTED',
  },
  kvCacheBudgetBytes: {
    what: 'Most bytes that one rank keeps of one forward, with KV-cache policy `auto`',
    accepted: 'an integer of at least 0',
    code: 'SHAPE_MISMATCH',
  },
  bias: {
    what: 'A float mask added to the scores (ALiBi, relative positions)',
    accepted: 'absent: scores take no addend; say what rows see with mask or attentionMask',
    code: 'UNSUPPORTED',
  },
  dropout: {
    what: 'Dropout of probabilities',
    accepted: '0 or absent: results are the same bits on any number of ranks, which random drops are not',
    code: 'UNSUPPORTED',
  },
  createGraph: {
    what: 'Gradients of gradients (double backward)',
    accepted: 'false or absent: gradients are of the first order',
    code: 'UNSUPPORTED',
  },
} as const satisfies Record<string, Supported>;

export type SupportedField = keyof typeof SUPPORTED;

/** The refusal of `value`; `field` names where it stood when that is not the row's own name. */
export function unsupported(row: SupportedField, value: unknown, field: string = row): UlyssesError {
  return fieldError(SUPPORTED[row].code, field, value, SUPPORTED[row].accepted);
}
