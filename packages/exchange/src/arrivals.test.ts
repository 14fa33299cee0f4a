import { createPlan, granulesOf, rankTables, type Granule, type Mask, type RowRange } from '@ulysses/plan';
import { describe, expect, it } from 'vitest';
import { arrivals, blocksOf, finalKeys } from './arrivals.js';

const CAUSAL: Mask = { left: null, right: 0, segments: null, validRanges: null };
const MASKS: Record<string, Mask> = {
  causal: CAUSAL,
  full: { ...CAUSAL, right: null },
  window: { ...CAUSAL, left: 500 },
  packed: { ...CAUSAL, segments: { cuSeqlensQ: [0, 1300, 4000], cuSeqlensKv: [0, 1300, 4000] } },
};

/** Ranks with whole and partial heads, and KV heads that several of their units read. */
function ranksOf(mask: Mask, kvHeads = 2, rows = 4000) {
  const plan = createPlan(
    {
      ...{ dtype: 'f32', layout: 'sbhd', batch: 1, qHeads: 6, kvHeads, headSize: 1, scale: 1 },
      ...{ qSplits: [rows], kvSplits: [rows], mask, strategy: 'balanced', weights: null },
    },
    4,
  );
  const tables = rankTables(plan);
  return granulesOf(plan, tables).map((granules, rank) => ({ table: tables[rank]!, granules }));
}

const range = ({ begin, end }: RowRange): number[] =>
  Array.from({ length: end - begin }, (_, i) => begin + i);

describe.each(Object.entries(MASKS))('arrivals, mask %s', (_name, mask) => {
  const ranks = ranksOf(mask);

  it('a granule waits for the rows and keys that it reads, wherever owners’ rows are cut, and for no key beyond them', () => {
    for (const { table, granules } of ranks) {
      const { keysOf, ofUnit, ofInterval } = arrivals(table, granules);
      /** Rows by the number of their block, as the plane counts them for segments that end at `cuts`. */
      const rowsOf = (line: (typeof ofUnit)[number], whole: RowRange, cuts: readonly number[]) => {
        const rows = new Map<number, number[]>();
        const edges = [whole.begin, ...cuts.filter((cut) => whole.begin < cut && cut < whole.end), whole.end];
        edges.slice(1).forEach((end, i) => {
          const begin = edges[i]!;
          const { granule, granuleEnds } = blocksOf(line, { begin, end });
          [...granuleEnds, end - begin].forEach((partEnd, part) => {
            const from = begin + (granuleEnds[part - 1] ?? 0);
            const known = rows.get(granule + part) ?? [];
            rows.set(granule + part, [...known, ...range({ begin: from, end: begin + partEnd })]);
          });
        });
        return rows;
      };
      for (const cuts of [[], [1, 129, 1300, 2500, 2501]]) {
        const numbers = new Set<number>();
        const units = table.units.map(({ qBegin, qEnd }, unit) =>
          rowsOf(ofUnit[unit]!, { begin: qBegin, end: qEnd }, cuts),
        );
        const intervals = table.kvIntervals.map((keys, interval) =>
          rowsOf(ofInterval[interval]!, keys, cuts),
        );
        granules.forEach(({ unit, qBegin, qEnd, keys }, index) => {
          expect(units[unit]!.get(index)).toEqual(range({ begin: qBegin, end: qEnd }));
          const interval = intervals[table.kvIntervalOfUnit[unit]!];
          const awaited = keysOf[index]!.flatMap((block) => interval!.get(block)!);
          expect(awaited.at(-1)).toBe(keys === null ? undefined : keys.end - 1);
          const read = new Set(awaited);
          expect((keys === null ? [] : range(keys)).every((key) => read.has(key))).toBe(true);
        });
        for (const line of [...units, ...intervals]) for (const number of line.keys()) numbers.add(number);
        const blocks = [...units, ...intervals].reduce((sum, line) => sum + line.size, 0);
        expect([numbers.size, Math.max(...numbers)]).toEqual([blocks, blocks - 1]);
      }
    }
  });

  it('keys are final once, in order, when the last granule that sees them is done and no sooner', () => {
    for (const { table, granules } of ranks) {
      const final = finalKeys(table, granules);
      const intervalOf = ({ unit }: Granule): number => table.kvIntervalOfUnit[unit]!;
      table.kvIntervals.forEach((interval, number) => {
        const sent = granules.flatMap((granule, index) =>
          intervalOf(granule) === number ? range(final[index]!) : [],
        );
        expect(sent).toEqual(range(interval));
      });
      granules.forEach((granule, index) => {
        for (const later of granules.slice(index + 1)) {
          if (later.keys === null || intervalOf(later) !== intervalOf(granule)) continue;
          expect(final[index]!.end).toBeLessThanOrEqual(Math.max(final[index]!.begin, later.keys.begin));
        }
      });
    }
  });
});

it('a rank whose work is one call hears once, when all that it reads is there', () => {
  for (const { table, granules } of ranksOf(CAUSAL, 2, 128)) {
    expect(granules.length).toBeGreaterThan(1);
    const { rowsOf, keysOf, ofUnit, ofInterval } = arrivals(table, granules);
    expect(new Set([...rowsOf, ...keysOf.flat()])).toEqual(new Set([0]));
    const lines = [
      ...table.units.map(({ qBegin, qEnd }, unit) => blocksOf(ofUnit[unit]!, { begin: qBegin, end: qEnd })),
      ...table.kvIntervals.map((keys, interval) => blocksOf(ofInterval[interval]!, keys)),
    ];
    expect(lines).toEqual(lines.map(() => ({ granule: 0, granuleEnds: [] })));
  }
});

it('under a window, keys that were passed leave before the interval is through', () => {
  for (const { table, granules } of ranksOf(MASKS['window']!, 6)) {
    const parts = finalKeys(table, granules).filter(({ begin, end }) => begin < end);
    expect(parts.length).toBeGreaterThan(table.kvIntervals.length);
  }
});
