import { describe, expect, it } from 'vitest';
import { granulesOf } from './granules.js';
import { createPlan } from './plan.js';
import { rankTables } from './rank-table.js';
import { rowBounds } from './row-bounds.js';
import type { Mask, StepSpec } from './spec.js';

const FULL: Mask = { left: null, right: null, segments: null, validRanges: null };
const CAUSAL: Mask = { ...FULL, right: 0 };

function specOf(rows: number, mask: Mask, changes: Partial<StepSpec> = {}): StepSpec {
  return {
    dtype: 'f32',
    layout: 'sbhd',
    batch: 1,
    qHeads: 6,
    kvHeads: 2,
    headSize: 64,
    qSplits: [rows],
    kvSplits: [rows],
    mask,
    scale: 1,
    strategy: 'balanced',
    weights: null,
    ...changes,
  };
}

/** Every kind of mask, long enough that most units are cut. */
const SPECS: Record<string, StepSpec> = {
  full: specOf(3001, FULL),
  causal: specOf(3001, CAUSAL),
  window: specOf(9001, { ...CAUSAL, left: 700 }),
  diagonal: specOf(9001, { ...CAUSAL, left: 0 }),
  'fewer keys': specOf(5000, CAUSAL, { kvSplits: [3000] }),
  packed: specOf(6000, {
    ...CAUSAL,
    segments: { cuSeqlensQ: [0, 900, 3000, 3000, 6000], cuSeqlensKv: [0, 900, 2500, 2600, 6000] },
  }),
  padded: specOf(4001, {
    ...CAUSAL,
    validRanges: { q: [{ begin: 700, end: 4001 }], kv: [{ begin: 650, end: 3900 }] },
  }),
};

describe.each(Object.entries(SPECS))('granules of a rank, mask %s', (_name, spec) => {
  const plan = createPlan(spec, 4);
  const tables = rankTables(plan);
  const ranks = granulesOf(plan, tables).map((granules, rank) => ({ granules, ...tables[rank]! }));

  it('are the rows of its units in order, each once', () => {
    for (const { granules, units } of ranks) {
      units.forEach(({ qBegin, qEnd }, index) => {
        const edges = granules
          .filter(({ unit }) => unit === index)
          .map((granule) => [granule.qBegin, granule.qEnd]);
        expect(edges.map(([begin]) => begin)).toEqual([qBegin, ...edges.slice(0, -1).map(([, end]) => end)]);
        expect(edges.at(-1)![1]).toBe(qEnd);
      });
      expect(granules.map(({ unit }) => unit)).toEqual(
        granules.map(({ unit }) => unit).sort((a, b) => a - b),
      );
    }
  });

  it('name the keys that their rows see and no others', () => {
    for (const { granules, units } of ranks) {
      for (const { unit, qBegin, qEnd, keys } of granules) {
        const bounds = rowBounds(spec, units[unit]!.batch, qBegin, qEnd, 0);
        const seen = Array.from({ length: qEnd - qBegin }, (_, row) => [
          bounds[2 * row]!,
          bounds[2 * row + 1]!,
        ])
          .filter(([low, high]) => low! < high!)
          .flat();
        expect(keys).toEqual(seen.length === 0 ? null : { begin: Math.min(...seen), end: Math.max(...seen) });
      }
    }
  });

  it('are at least 8, of about as many pairs', () => {
    for (const { granules, units } of ranks) {
      expect(granules.length).toBeGreaterThanOrEqual(8);
      const pairs = granules.map(({ unit, qBegin, qEnd }) => {
        const bounds = rowBounds(spec, units[unit]!.batch, qBegin, qEnd, 0);
        return bounds.reduce((sum, bound, i) => sum + (i % 2 === 0 ? -bound : bound), 0);
      });
      const mean = pairs.reduce((sum, count) => sum + count, 0) / pairs.length;
      expect(Math.max(...pairs)).toBeLessThan(2.1 * mean);
    }
  });
});

it('units of a small step are granules whole', () => {
  const plan = createPlan(specOf(500, CAUSAL), 4);
  const tables = rankTables(plan);
  granulesOf(plan, tables).forEach((granules, rank) => {
    expect(granules.map(({ unit }) => unit)).toEqual(tables[rank]!.units.map((_, unit) => unit));
  });
});
