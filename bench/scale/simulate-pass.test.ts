import { createPlan, explainPlan, splitSizes, stepBytes, type Plan, type StepSpec } from '@ulysses/plan';
import { describe, expect, it } from 'vitest';
import type { Machine } from './machine.js';
import { passWork } from './pass-work.js';
import { simulatePass } from './simulate-pass.js';

const NOTHING = { base: 0, slope: 0 };
/** Everything at once: each test takes away what it is not about. */
const FREE: Machine = {
  ranksPerHost: 1,
  owners: 'beside ranks',
  workersPerHost: 1,
  workerFlopsPerSecond: Infinity,
  localSecondsPerByte: 0,
  linkBytesPerSecond: Infinity,
  latencySeconds: 0,
  messageSeconds: 0,
  control: { coordinator: NOTHING, rank: NOTHING, owner: NOTHING },
};

function planOf(cpSize: number, changes: Partial<StepSpec> = {}): Plan {
  const splits = splitSizes(64 * cpSize, cpSize);
  return createPlan(
    {
      dtype: 'bf16',
      layout: 'sbhd',
      batch: 1,
      qHeads: 2 * cpSize,
      kvHeads: cpSize,
      headSize: 16,
      qSplits: splits,
      kvSplits: splits,
      mask: { left: null, right: null, segments: null, validRanges: null },
      scale: 1,
      strategy: 'heads',
      weights: null,
      ...changes,
    },
    cpSize,
  );
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

describe('bytes and work', () => {
  const uneven = { qSplits: [0, 7, 131, 90, 1], kvSplits: [50, 50, 50, 50, 29], qHeads: 6, kvHeads: 2 };

  it.each(['forward', 'backward'] as const)('are the plan’s in %s, all of them and on every rank', (pass) => {
    const mask = { left: null, right: 0, segments: null, validRanges: null };
    const plan = planOf(5, { ...uneven, mask, strategy: 'balanced' });
    const { bytesPerRank, flopsPerRank } = simulatePass(passWork(plan, pass), FREE);
    const { ownersToRanks, ranksToOwners } = stepBytes(plan, pass);
    const { ranks, flops } = explainPlan(plan);
    expect(sum(bytesPerRank)).toBe(ownersToRanks + ranksToOwners);
    const bytes = ranks.map(({ forwardBytes, backwardBytes }) =>
      pass === 'forward' ? forwardBytes : backwardBytes,
    );
    expect(bytesPerRank).toEqual(bytes);
    expect(sum(flopsPerRank)).toBe(flops[pass]);
  });
});

describe('the time of a pass', () => {
  it('is nothing when nothing costs any', () => {
    expect(simulatePass(passWork(planOf(4), 'forward'), FREE).seconds).toBe(0);
  });

  it('is the bytes that cross a link over its rate when links are all that costs', () => {
    const plan = planOf(8);
    const work = passWork(plan, 'forward');
    // In comes 7/8 of what a rank reads, out goes 7/8 of what it returns, and links are full from the first byte to the last.
    const { pairs } = stepBytes(plan, 'forward');
    const into = sum(pairs.map((ofOwner, owner) => (owner === 0 ? 0 : ofOwner[0]!.q + 2 * ofOwner[0]!.k)));
    const back = sum(
      pairs[0]!.map((pair, rank) => (rank === 0 || pair.pass === 'backward' ? 0 : pair.out + pair.lse)),
    );
    const { seconds } = simulatePass(work, { ...FREE, linkBytesPerSecond: 1000 });
    expect(seconds).toBeGreaterThanOrEqual((into + back) / 1000 - 1e-9);
    expect(seconds).toBeLessThan((1.15 * (into + back)) / 1000);
  });

  it('is bound by the one link on which all rows meet', () => {
    // Rank 0 computes everything, and every owner but the one beside it has rows for it.
    const plan = planOf(4, { qHeads: 1, kvHeads: 1 });
    const { pairs } = stepBytes(plan, 'forward');
    const into = sum(pairs.slice(1).map(([first]) => first!.q + 2 * first!.k));
    const back = sum(
      pairs.slice(1).map(([first]) => (first!.pass === 'forward' ? first!.out + first!.lse : 0)),
    );
    const { seconds } = simulatePass(passWork(plan, 'forward'), { ...FREE, linkBytesPerSecond: 500 });
    expect(seconds).toBeCloseTo((into + back) / 500, 9);
  });

  it('is there, back and an acknowledgement, and the hops of agreement, when only distance costs', () => {
    const { seconds } = simulatePass(passWork(planOf(4), 'forward'), { ...FREE, latencySeconds: 1 });
    expect(seconds).toBe(6 + 3);
  });

  it('is the work of the rank that has most when only arithmetic costs', () => {
    const plan = planOf(4, { qHeads: 6, kvHeads: 2 });
    const { flopsPerRank, seconds } = simulatePass(passWork(plan, 'backward'), {
      ...FREE,
      workerFlopsPerSecond: 1e6,
    });
    expect(flopsPerRank).toEqual([2, 2, 1, 1].map((heads) => (heads * sum(flopsPerRank)) / 6));
    expect(seconds).toBeCloseTo(Math.max(...flopsPerRank) / 1e6, 9);
  });

  it('is all work over all workers when ranks share one host', () => {
    const work = passWork(planOf(4), 'forward');
    const machine = { ...FREE, ranksPerHost: Infinity, workersPerHost: 2, workerFlopsPerSecond: 1e6 };
    const { flopsPerRank, seconds } = simulatePass(work, machine);
    expect(seconds).toBeCloseTo(sum(flopsPerRank) / 2e6, 9);
  });

  it('hides what is carried behind what is computed, unit by unit', () => {
    // Four units on each of two ranks: rows of later units come while the first is computed.
    const work = passWork(planOf(2, { qHeads: 8, kvHeads: 8 }), 'forward');
    const [links, device] = [{ linkBytesPerSecond: 1e6 }, { workerFlopsPerSecond: 3e7 }];
    const carried = simulatePass(work, { ...FREE, ...links }).seconds;
    const computed = simulatePass(work, { ...FREE, ...device }).seconds;
    const both = simulatePass(work, { ...FREE, ...links, ...device }).seconds;
    expect(both).toBeGreaterThan(Math.max(carried, computed));
    expect(both).toBeLessThan(carried + computed - 0.5 * Math.min(carried, computed));
  });

  it('grows with ranks and owners by what each takes of the coordinator', () => {
    const machine = { ...FREE, control: { ...FREE.control, coordinator: { base: 2, slope: 0.25 } } };
    expect(simulatePass(passWork(planOf(8), 'forward'), machine)).toMatchObject({
      seconds: 6,
      controlSeconds: 6,
    });
  });

  it('is every byte over one link, each way, when the owner is apart from ranks of one host', () => {
    const plan = planOf(4, { qSplits: [256], kvSplits: [256] });
    const { ownersToRanks, ranksToOwners } = stepBytes(plan, 'forward');
    const machine = { ...FREE, ranksPerHost: Infinity, owners: 'apart', linkBytesPerSecond: 1000 } as const;
    const { seconds } = simulatePass(passWork(plan, 'forward'), machine);
    // Units return while others are sent, so the ways overlap; the last unit of a rank returns when all has come.
    expect(seconds).toBeGreaterThan(ownersToRanks / 1000);
    expect(seconds).toBeLessThan((ownersToRanks + ranksToOwners) / 1000);
    const beside = { ...machine, owners: 'beside ranks' } as const;
    expect(simulatePass(passWork(plan, 'forward'), beside).seconds).toBe(0);
  });
});
