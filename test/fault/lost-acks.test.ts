import { randomUUID } from 'node:crypto';
import { connect, UlyssesContextAttention } from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { stepInputs } from '../support/step-inputs.js';
import { FaultCluster } from './fault-cluster.js';

const CP_SIZE = 3;
const INPUTS = stepInputs({ rows: 61, batch: 1, qHeads: 6, kvHeads: 2, headSize: 16 }, 7);

let redis: RedisProcess;
let cluster: FaultCluster;
beforeAll(async () => {
  redis = await startRedis();
  cluster = await FaultCluster.start(CP_SIZE, redis.port, true);
});
afterAll(async () => {
  await cluster.stop();
  await redis.stop();
});

describe('an owner whose rows arrive, while no ack of them comes back', () => {
  it('has its results when the step commits: every rank finished, and so has its rows', async () => {
    const connection = await connect({
      address: cluster.addresses,
      session: randomUUID(),
      // Rank 0 relays: acks of rank 2 are what its tensor port answers to rank 0.
      route: 'relay',
      transport: 'tcp',
      deadlineMs: 10_000,
      maxReplays: 0,
    });
    const { proxies } = await cluster.rankOf(2);
    try {
      const attention = new UlyssesContextAttention(null, connection, { causal: true });
      const before = await attention.forward(INPUTS.q, INPUTS.k, INPUTS.v);
      proxies!.tensor.partition('to-client');
      const { out, lse } = await attention.forward(INPUTS.q, INPUTS.k, INPUTS.v);
      expect(out.data).toEqual(before.out.data);
      expect(lse).toEqual(before.lse);
    } finally {
      proxies!.tensor.heal();
      await connection.close();
    }
  });
});
