import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, UlyssesContextAttention, type Cluster } from '@ulysses/client';
import type { Transport } from '@ulysses/exchange';
import type { PlaneCounters } from '@ulysses/native';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { stepInputs, type StepInputs } from '../support/step-inputs.js';

const CP_SIZE = 3;
const INPUTS = stepInputs({ rows: 64, batch: 1, qHeads: 6, kvHeads: 2, headSize: 16 }, 5);
/** Every segment of it is large enough to be read in place. */
const LARGER = stepInputs({ rows: 640, batch: 1, qHeads: 6, kvHeads: 2, headSize: 16 }, 5);

async function forward(connection: Cluster, { q, k, v }: StepInputs): Promise<void> {
  await new UlyssesContextAttention(null, connection, { keep: 'none' }).forward(q, k, v);
}

describe('rows of an owner', () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startCluster({ cpSize: CP_SIZE });
  });
  afterAll(async () => {
    await cluster.stop();
  });

  async function connected<T>(
    route: 'auto' | 'relay' | 'direct',
    transport: Transport,
    act: (connection: Cluster) => Promise<T>,
  ): Promise<T> {
    const connection = await connect({ address: cluster.address, route, transport });
    try {
      return await act(connection);
    } finally {
      await connection.close();
    }
  }

  it('pass their relay with route relay, and only that rank is linked', async () => {
    await connected('relay', 'auto', async (connection) => {
      await forward(connection, INPUTS);
      await forward(connection, INPUTS);
      expect(connection.links.direct).toBe(false);
      expect(connection.plane.links).toBe(1);
    });
  });

  it('go straight to every rank with route direct, from the first step', async () => {
    await connected('direct', 'auto', async (connection) => {
      await forward(connection, INPUTS);
      expect(connection.plane.links).toBe(CP_SIZE);
    });
  });

  it('go straight to every rank with route auto once every rank was reached', async () => {
    await connected('auto', 'auto', async (connection) => {
      // Ranks are dialled beside the steps: how many steps pass the relay before is not promised.
      while (!connection.links.direct) await forward(connection, INPUTS);
      await forward(connection, INPUTS);
      expect(connection.plane.links).toBe(CP_SIZE);
    });
  });

  it('are read in place on one host, or travel by unix sockets or TCP when told so', async () => {
    const counters = (transport: Transport): Promise<PlaneCounters> =>
      connected('direct', transport, async (connection) => {
        await forward(connection, LARGER);
        return connection.plane.counters;
      });
    const inPlace = await counters('auto');
    expect(inPlace).toMatchObject({ unixConnections: CP_SIZE, sharedConnections: CP_SIZE });
    expect(inPlace.sharedBytes).toBe(inPlace.sentBytes);
    const byUnix = { unixConnections: CP_SIZE, sharedConnections: 0, sharedBytes: 0 };
    expect(await counters('unix')).toMatchObject({ ...byUnix, sentBytes: inPlace.sentBytes });
    const byTcp = { unixConnections: 0, sharedConnections: 0, sharedBytes: 0 };
    expect(await counters('tcp')).toMatchObject({ ...byTcp, sentBytes: inPlace.sentBytes });
  });

  it('are refused a route that there is not', async () => {
    await expect(connect({ address: cluster.address, route: 'fast' as 'auto' })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'route is "fast", expected one of auto, relay, direct',
    });
  });
});
