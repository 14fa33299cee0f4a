import { describe, expect, it } from 'vitest';
import { fitCost } from './fit-line.js';
import { controlSeconds, type Machine } from './machine.js';
import { predictStep } from './predict-step.js';
import { padded, type Workload } from './workload.js';

const MACHINE: Machine = {
  ranksPerHost: 1,
  owners: 'beside ranks',
  workersPerHost: 1,
  workerFlopsPerSecond: 1e12,
  localSecondsPerByte: 0,
  linkBytesPerSecond: 1e9,
  latencySeconds: 1e-5,
  messageSeconds: 1e-6,
  control: {
    coordinator: { base: 1e-3, slope: 1e-4 },
    rank: { base: 2e-3, slope: 1e-5 },
    owner: { base: 3e-3, slope: 1e-6 },
  },
};

function workload(rows: number, qHeads: number, kvHeads: number): Workload {
  return { rows, qHeads, kvHeads, headSize: 32, dtype: 'bf16' };
}

describe('padding to an aligned exchange', () => {
  // rows, q heads, kv heads on ranks → padded
  it.each([
    [1021, 40, 8, 4, [1024, 40, 8]],
    [1021, 40, 8, 16, [1024, 48, 16]],
    [1021, 40, 8, 32, [1024, 64, 32]],
    [2048, 6, 2, 4, [2048, 8, 4]],
  ])('%i rows, %i and %i heads on %i ranks are %o', (rows, qHeads, kvHeads, cpSize, expected) => {
    const after = padded(workload(rows, qHeads, kvHeads), cpSize);
    expect([after.rows, after.qHeads, after.kvHeads]).toEqual(expected);
    expect(after.qHeads % after.kvHeads).toBe(0);
  });
});

describe('a step', () => {
  it('is the same in all three ways where everything divides', () => {
    const ways = (['padded', 'heads'] as const).map((way) =>
      predictStep(workload(1024, 16, 16), 8, way, MACHINE),
    );
    expect(ways[0]).toEqual(ways[1]);
  });

  it('carries as many bytes per rank when rows and ranks double together, as long as heads divide', () => {
    const bytes = [2, 4, 8, 16].map(
      (cpSize) => predictStep(workload(64 * cpSize, 16, 16), cpSize, 'heads', MACHINE).bytesPerRank,
    );
    expect(new Set(bytes).size).toBe(1);
  });

  it('is balanced where whole heads leave ranks idle, and carries less than padded heads do', () => {
    const work = workload(1021, 6, 2);
    const [heads, balanced, aligned] = (['heads', 'balanced', 'padded'] as const).map((way) =>
      predictStep(work, 16, way, MACHINE),
    );
    expect(heads!.balance).toBeCloseTo(16 / 6, 6);
    expect(balanced!.balance).toBeLessThan(1.01);
    expect(balanced!.bytesPerRank).toBeLessThan(aligned!.bytesPerRank);
    expect(balanced!.ms).toBeLessThan(heads!.ms);
  });

  it('says how much of it is agreement: what coordinator, rank and owner take in turn, and six hops', () => {
    const inTurn = 1 + 8 * 0.1 + (2 + 4 * 0.01) + (3 + 4 * 0.001);
    expect(predictStep(workload(64, 4, 4), 4, 'heads', MACHINE).controlMs).toBeCloseTo(
      2 * (inTurn + 0.06),
      9,
    );
  });

  it('is agreed upon through the cores that all processes share, where they share them', () => {
    const machine = { ...MACHINE, ranksPerHost: Infinity, workersPerHost: 2 };
    const [few, many] = [2, 16].map(
      (cpSize) => controlSeconds(machine, cpSize, cpSize) - 6 * MACHINE.latencySeconds,
    );
    // Two of each keep two cores busy for 5.7 ms, and one after the other takes longer; sixteen of each do not.
    expect(few).toBeCloseTo((1 + 4 * 0.1 + (2 + 2 * 0.01) + (3 + 2 * 0.001)) / 1000, 9);
    expect(many).toBeCloseTo((1 + 32 * 0.1 + 16 * (2 + 16 * 0.01) + 16 * (3 + 16 * 0.001)) / 1000 / 2, 9);
  });
});

describe('a line of cost', () => {
  const fit = (...y: number[]) => fitCost([2, 4, 8].map((x, i) => ({ x, y: y[i]! })));

  it('through points that lie on one has their slope and their start', () => {
    expect(fit(4, 5, 7)).toEqual({ base: expect.closeTo(3, 9), slope: expect.closeTo(0.5, 9) });
  });

  it('does not fall, and does not begin below nothing', () => {
    expect(fit(7, 5, 3)).toEqual({ base: 5, slope: 0 });
    expect(fit(0, 4, 12)).toEqual({ base: 0, slope: expect.closeTo(112 / 84, 9) });
  });
});
