import type { DType, Layout } from '@ulysses/tensor';

/** Half-open interval of rows. */
export interface RowRange {
  readonly begin: number;
  readonly end: number;
}

/**
 * What a query row may see: a band around the diagonal AND (packed segments | one valid range per sample).
 *
 * Row i of a segment with s_q queries and s_kv keys sees keys j with
 * `i + (s_kv - s_q) - left <= j <= i + (s_kv - s_q) + right`, clamped to the segment; null means unbounded.
 * Causal is `right = 0`. `segments` needs batch 1 (packed layouts); `validRanges` has one range per sample and
 * bounds keys and query rows alike (a query row outside its range is fully masked).
 * With `validRanges`, s_q and s_kv in the diagonal offset are the whole extents, not the range.
 */
export interface Mask {
  readonly left: number | null;
  readonly right: number | null;
  readonly segments: {
    readonly cuSeqlensQ: readonly number[];
    readonly cuSeqlensKv: readonly number[];
  } | null;
  readonly validRanges: { readonly q: readonly RowRange[]; readonly kv: readonly RowRange[] } | null;
}

export const STRATEGIES = ['heads', 'balanced'] as const;
export type Strategy = (typeof STRATEGIES)[number];

/**
 * A step, resolved: everything a plan follows from. Rows are those that are exchanged; rows of an owner's shard
 * beyond the gather size are not part of it.
 */
export interface StepSpec {
  readonly dtype: DType;
  readonly layout: Layout;
  /** b; 1 for packed layouts. */
  readonly batch: number;
  readonly qHeads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  /** Rows of every sequence owner, in owner order; the sum is the gather size. Zero is allowed. */
  readonly qSplits: readonly number[];
  readonly kvSplits: readonly number[];
  readonly mask: Mask;
  /** Softmax scale, finite and float32-representable. */
  readonly scale: number;
  readonly strategy: Strategy;
  /** Relative device speed per rank, only with strategy `balanced`; null means equal, 0 that the rank idles. */
  readonly weights: readonly number[] | null;
}

/**
 * Rows [qBegin, qEnd) of one query head: the element of work. The keys that its rows see have no gap: rows of one head
 * are two units where they would.
 */
export interface Unit {
  readonly batch: number;
  readonly qHead: number;
  readonly qBegin: number;
  readonly qEnd: number;
}

/** Rows [begin, end) of one KV head, each of which some unit of the rank sees. Intervals of a head do not touch. */
export interface KvInterval {
  readonly batch: number;
  readonly kvHead: number;
  readonly begin: number;
  readonly end: number;
}

/**
 * Spec plus cuts: all that travels. `cuts` has cpSize + 1 non-decreasing positions on the line of all query rows of all
 * heads of all samples: cuts[0] is 0, the last is batch * qHeads * sQ, and rank r computes [cuts[r], cuts[r + 1]).
 * Row fastest; position = (head * batch + sample) * sQ + row with strategy `heads`, whose cuts fall between heads, and
 * (sample * qHeads + head) * sQ + row with strategy `balanced`.
 */
export interface Plan {
  readonly planId: string;
  readonly cpSize: number;
  readonly spec: StepSpec;
  readonly cuts: readonly number[];
}

/** What one rank computes: its units in plan order, the KV rows they read, and which interval each unit reads. */
export interface RankTable {
  readonly rank: number;
  readonly units: readonly Unit[];
  readonly kvIntervals: readonly KvInterval[];
  /** Per unit, the index in `kvIntervals`; -1 when no key is visible to any of its rows. */
  readonly kvIntervalOfUnit: readonly number[];
}

/**
 * One contiguous run of rows of one head that travels between an owner and a rank. `index` is the unit's
 * (q-like tensors) or the KV interval's (k, v, dk, dv) place in the rank's table; begin and end are whole-sequence rows.
 */
export interface Segment {
  readonly index: number;
  readonly batch: number;
  readonly head: number;
  readonly begin: number;
  readonly end: number;
}

/** Everything that travels between one owner and one rank; a segment's wire number is its place in the list. */
export interface PairSegments {
  readonly q: readonly Segment[];
  readonly kv: readonly Segment[];
}
