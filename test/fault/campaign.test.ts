import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WholeResult } from '../support/cluster-step.js';
import type { InputShape } from '../support/step-inputs.js';
import { expectedBits } from './expected-bits.js';
import { FaultCluster } from './fault-cluster.js';
import { playScenario, warmUp } from './play-scenario.js';
import { RedisUnderTest } from './redis-under-test.js';
import { describeScenario, drawScenario, PROXIED_CP_SIZE, SMALL_SHAPE } from './scenario.js';

/** `npm run test:faults -- --runs N --seed S` sets them. */
const RUNS = Number(process.env['ULYSSES_TEST_FAULT_RUNS'] ?? 10);
/**
 * Of all starts the lowest whose ten seeds cover the most: every victim and every phase (from 1 on there is no `agree`), a
 * rank killed in transfer and in compute, and one stopped in agree and in commit.
 */
const FIRST_SEED = Number(process.env['ULYSSES_TEST_FAULT_SEED'] ?? 9);

let redis: RedisUnderTest;
const clusters = new Map<number, FaultCluster>();
const results = new Map<string, WholeResult>();

beforeAll(async () => {
  redis = await RedisUnderTest.start();
});
afterAll(async () => {
  await Promise.all([...clusters.values()].map((cluster) => cluster.stop()));
  await redis.stop();
});

/** One cluster per size, which goes through all runs. */
async function clusterOf(cpSize: number): Promise<FaultCluster> {
  const known = clusters.get(cpSize);
  if (known !== undefined) return known;
  const cluster = await FaultCluster.start(cpSize, redis.port, cpSize === PROXIED_CP_SIZE);
  clusters.set(cpSize, cluster);
  await warmUp(cluster, await expectedOf(cluster, SMALL_SHAPE));
  return cluster;
}

async function expectedOf(cluster: FaultCluster, shape: InputShape): Promise<WholeResult> {
  const name = JSON.stringify([cluster.cpSize, shape]);
  const expected = results.get(name) ?? (await expectedBits(cluster.addresses, shape));
  results.set(name, expected);
  return expected;
}

describe('right bits or an error in time that names the cause, and then everything at rest', () => {
  const scenarios = Array.from({ length: RUNS }, (_, run) => drawScenario(FIRST_SEED + run));
  it.each(scenarios.map((scenario) => [describeScenario(scenario), scenario] as const))(
    '%s',
    { timeout: 120_000 },
    async (_, scenario) => {
      const again = `repeat with: npm run test:faults -- --runs 1 --seed ${scenario.seed}`;
      try {
        const cluster = await clusterOf(scenario.cpSize);
        await playScenario(scenario, cluster, redis, await expectedOf(cluster, scenario.shape));
      } catch (cause) {
        // What is left of this run is not to disturb the next.
        await clusters.get(scenario.cpSize)?.stop();
        clusters.delete(scenario.cpSize);
        throw new Error(`${cause instanceof Error ? cause.message : String(cause)}; ${again}`, { cause });
      }
    },
  );

  it('the campaign used what it started', () => {
    expect(clusters.size).toBeGreaterThan(0);
  });
});
