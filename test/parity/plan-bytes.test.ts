import { randomUUID } from 'node:crypto';
import { relayBytes } from '@ulysses/exchange';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { runStep, type OwnerDone } from '../support/cluster-step.js';
import { Parts, type Part } from '../support/parts.js';
import { stepInputs } from '../support/step-inputs.js';
import { evenShares, type ParityCase } from './cases.js';
import { expectPlanBytes, planOf } from './expect-plan-bytes.js';

const OWNERS = 3;
const SHAPE = { rows: 127, qHeads: 7, kvHeads: 1, batch: 2, headSize: 40 };
const RELAYED = 'ulysses_payload_bytes_total{direction="relayed"}';

let redis: RedisProcess;
let parts: Parts;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(() => {
  const rendezvous = `redis://127.0.0.1:${redis.port}`;
  parts = new Parts({ rendezvous, cluster: randomUUID(), flags: ['--metrics', '127.0.0.1:0'] });
});
afterEach(() => parts.stop());

async function relayedBytes({ metricsAddress }: Part): Promise<number> {
  const text = await (await fetch(`http://${metricsAddress}/metrics`)).text();
  const sample = text.split('\n').find((line) => line.startsWith(RELAYED));
  if (sample === undefined) throw new Error(`no ${RELAYED} in:\n${text}`);
  return Number(sample.slice(RELAYED.length));
}

it.each([2, 4])(
  'between owners and %i ranks as many bytes move as the plan says, and ranks pass on as many as it says for relays',
  async (cpSize) => {
    const { address } = await parts.coordinator(cpSize);
    const ranks = await parts.ranks(cpSize);
    await parts.ready(address, cpSize);
    const splits = evenShares(SHAPE.rows, OWNERS);
    const testCase: ParityCase = { cpSize, ...SHAPE, mask: 'causal', splits, strategy: 'balanced' };
    const plan = planOf(testCase);
    const step = async (route: 'direct' | 'relay'): Promise<void> => {
      const done: OwnerDone[] = [];
      const attention = { strategy: testCase.strategy, causal: true };
      const onDone = (owner: OwnerDone): void => void done.push(owner);
      await runStep({ address, splits, attention, connection: { route }, onDone }, stepInputs(SHAPE, 9));
      expect(done).toHaveLength(OWNERS);
      expectPlanBytes(plan, done);
    };
    const passedOn = async (): Promise<number> =>
      (await Promise.all(ranks.map(relayedBytes))).reduce((sum, bytes) => sum + bytes, 0);

    await step('direct');
    expect(await passedOn()).toBe(0);

    await step('relay');
    const all = Array.from({ length: cpSize }, (_, rank) => rank);
    const planned = (['forward', 'backward'] as const).flatMap((pass) =>
      all.map((rank) => relayBytes(plan, rank, pass, [], [])),
    );
    expect(await passedOn()).toBe(planned.reduce((sum, bytes) => sum + bytes, 0));
  },
);
