import { elementBytes } from '@ulysses/tensor';
import { pairSegments } from './pair-segments.js';
import { rankTables } from './rank-table.js';
import type { Plan, Segment, StepSpec } from './spec.js';

export type Pass = 'forward' | 'backward';

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

/** Exact payload bytes of one pass. */
export function stepBytes(plan: Plan, pass: Pass): StepBytes {
  const tables = rankTables(plan);
  const bytes = rowBytes(plan.spec);
  let ownersToRanks = 0;
  let ranksToOwners = 0;
  const pairs = plan.spec.qSplits.map((_, owner) =>
    tables.map((table): PairBytes => {
      const { q, kv } = pairSegments(plan, table, owner);
      const rows = segmentRows(q) * bytes.element;
      if (pass === 'forward') {
        const keys = segmentRows(kv) * bytes.element;
        const lse = segmentRows(q) * bytes.lse;
        ownersToRanks += rows + 2 * keys;
        ranksToOwners += rows + lse;
        return { pass, q: rows, k: keys, v: keys, out: rows, lse };
      }
      const partials = segmentRows(kv) * bytes.partial;
      ownersToRanks += rows;
      ranksToOwners += rows + 2 * partials;
      return { pass, dout: rows, dq: rows, dk: partials, dv: partials };
    }),
  );
  return { pairs, ownersToRanks, ranksToOwners };
}

function segmentRows(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.end - segment.begin, 0);
}
