import { randomUUID } from 'node:crypto';
import { connect, UlyssesContextAttention } from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { countResets } from '../support/cutting-proxy.js';
import { stepInputs } from '../support/step-inputs.js';

const SMALL = stepInputs({ rows: 9, batch: 1, qHeads: 3, kvHeads: 3, headSize: 8 }, 4);

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ cpSize: 2 });
});
afterAll(() => cluster.stop());

describe('a trainer that makes many steps', () => {
  it('resets none of its calls: a server takes thousands of resets for an attack, and ends the connection', async () => {
    const proxy = await countResets(cluster.address);
    const connection = await connect({ address: proxy.address, session: randomUUID() });
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const steps = Array.from({ length: 8 }, async () => {
      const result = await attention.forward(SMALL.q, SMALL.k, SMALL.v);
      await result.backward(SMALL.dout);
    });
    await Promise.all(steps);
    expect(proxy.resets).toBe(0);
    await connection.close();
    await proxy.stop();
  });
});
