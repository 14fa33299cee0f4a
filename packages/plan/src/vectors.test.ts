import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { granulesOf } from './granules.js';
import { planText } from './plan-id.js';
import { createPlan, verifyPlan } from './plan.js';
import { rankTables } from './rank-table.js';
import type { StepSpec } from './spec.js';
import { granulesDigest, segmentsDigest, tableDigest } from './table-digest.js';

interface Vector {
  readonly name: string;
  readonly cpSize: number;
  readonly spec: StepSpec;
  readonly cuts: readonly number[];
  readonly planText: string;
  readonly planId: string;
  readonly tableDigests: readonly string[];
  /** Per owner. */
  readonly segmentDigests: readonly string[];
  readonly granuleDigests: readonly string[];
}

const file = new URL('../vectors/plans.json', import.meta.url);
const vectors = JSON.parse(readFileSync(file, 'utf8')) as Vector[];

test('there are at least 20 vectors', () => {
  expect(vectors.length).toBeGreaterThanOrEqual(20);
});

describe.each(vectors.map((vector) => [vector.name, vector] as const))('vector "%s"', (_, vector) => {
  const { spec, cpSize, cuts, planId } = vector;

  test('its spec gives its cuts and its plan id', () => {
    expect(createPlan(spec, cpSize)).toEqual({ planId, cpSize, spec, cuts });
    expect(planText(spec, cpSize, cuts)).toBe(vector.planText);
  });

  test('its spec and cuts give its tables, segments and granules', () => {
    const plan = { planId, cpSize, spec, cuts };
    verifyPlan(plan);
    const tables = rankTables(plan);
    expect(tables.map(tableDigest)).toEqual(vector.tableDigests);
    expect(granulesOf(plan, tables).map(granulesDigest)).toEqual(vector.granuleDigests);
    expect(spec.qSplits.map((_, owner) => segmentsDigest(plan, owner))).toEqual(vector.segmentDigests);
  });
});
