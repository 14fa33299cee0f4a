import { elementBytes } from '@ulysses/tensor';
import { pairSegments } from './pair-segments.js';
import { rankTables } from './rank-table.js';
import type { PairSegments, Plan, Segment, StepSpec } from './spec.js';

export type Pass = 'forward' | 'backward';

/** An input that a backward step carries to the ranks beside dout, because they did not keep it. */
export type CarriedTensor = 'q' | 'k' | 'v';

/** Bytes of one row of each tensor that travels: elements of the step's dtype, but lse, dk and dv are float32. */
export interface RowBytes {
  /** q, k, v, out, dout or dq. */
  readonly element: number;
  readonly lse: number;
  /** dk or dv, a rank's partial sum. */
  readonly partial: number;
}

export function rowBytes({ dtype, headSize }: StepSpec): RowBytes {
  return { element: headSize * elementBytes(dtype), lse: 4, partial: headSize * 4 };
}

/** Payload bytes between one owner and one rank, per tensor. */
export type PairBytes =
  | {
      readonly pass: 'forward';
      readonly q: number;
      readonly k: number;
      readonly v: number;
      readonly out: number;
      readonly lse: number;
    }
  | {
      readonly pass: 'backward';
      /** Inputs that travel again because ranks did not keep them; 0 when they did. */
      readonly q: number;
      readonly k: number;
      readonly v: number;
      readonly dout: number;
      readonly dq: number;
      readonly dk: number;
      readonly dv: number;
    };

/** Payload bytes of one pass for every (owner, rank); what a relay forwards is not counted again. */
export interface StepBytes {
  /** `pairs[owner][rank]` */
  readonly pairs: readonly (readonly PairBytes[])[];
  readonly ownersToRanks: number;
  readonly ranksToOwners: number;
}

/** Exact payload bytes of one pass; `carried` is what a backward brings beside dout. */
export function stepBytes(plan: Plan, pass: Pass, carried: readonly CarriedTensor[] = []): StepBytes {
  const tables = rankTables(plan);
  const pairs = plan.spec.qSplits.map((_, owner) =>
    tables.map((table) => pairBytes(plan.spec, pairSegments(plan, table, owner), pass, carried)),
  );
  const all = pairs.flat().map(pairTotals);
  return {
    pairs,
    ownersToRanks: all.reduce((sum, { toRank }) => sum + toRank, 0),
    ranksToOwners: all.reduce((sum, { toOwner }) => sum + toOwner, 0),
  };
}

/** Payload bytes of one pass between one owner and one rank. */
export function pairBytes(
  spec: StepSpec,
  { q, kv }: PairSegments,
  pass: Pass,
  carried: readonly CarriedTensor[],
): PairBytes {
  const bytes = rowBytes(spec);
  const rows = segmentRows(q) * bytes.element;
  const keys = segmentRows(kv) * bytes.element;
  if (pass === 'forward') {
    return { pass, q: rows, k: keys, v: keys, out: rows, lse: segmentRows(q) * bytes.lse };
  }
  const partials = segmentRows(kv) * bytes.partial;
  const again = (tensor: CarriedTensor, size: number): number => (carried.includes(tensor) ? size : 0);
  const inputs = { q: again('q', rows), k: again('k', keys), v: again('v', keys) };
  return { pass, ...inputs, dout: rows, dq: rows, dk: partials, dv: partials };
}

/** The same, summed by direction. */
export function pairTotals(pair: PairBytes): { readonly toRank: number; readonly toOwner: number } {
  const inputs = pair.q + pair.k + pair.v;
  return pair.pass === 'forward'
    ? { toRank: inputs, toOwner: pair.out + pair.lse }
    : { toRank: inputs + pair.dout, toOwner: pair.dq + pair.dk + pair.dv };
}

function segmentRows(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.end - segment.begin, 0);
}
