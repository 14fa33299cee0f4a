import { exchange, UlyssesContextAttention } from '@ulysses/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, type TestCluster } from '../support/cluster.js';
import { connectOwners, type Owners } from '../support/exchange-owners.js';
import { plainCoreAttention } from '../support/plain-core-attention.js';
import { distinctTensor, sameBits, sliceAlong } from '../support/sliced-tensor.js';
import { shardOf, stepInputs } from '../support/step-inputs.js';

const CP_SIZE = 3;
/** 60 MB in runs of 16 to 20 bytes: long enough that a rank dies in the middle of it. */
const SHAPE = [1_200_000, 13];

let cluster: TestCluster;
let owners: Owners;
const replays: string[] = [];
beforeAll(async () => {
  cluster = await startCluster({ cpSize: CP_SIZE });
  owners = await connectOwners(cluster.address, CP_SIZE, { onReplay: ({ code }) => replays.push(code) });
});
afterAll(async () => {
  await owners.close();
  await cluster.stop();
});

describe('a rank is killed', () => {
  it('during an exchange, forward and reverse: it is replayed and gives every bit', async () => {
    const whole = distinctTensor(SHAPE, 'f32');
    const rows = SHAPE[0]! / CP_SIZE;
    const inputs = owners.clusters.map((_, owner) => sliceAlong(whole, 0, owner * rows, (owner + 1) * rows));
    replays.length = 0;
    const forward = owners.clusters.map((connection, owner) =>
      exchange(connection, inputs[owner]!, { scatterDim: 1, gatherDim: 0 }),
    );
    await cluster.untilStepRuns();
    cluster.kill(1);
    const results = await Promise.all(forward);
    expect(replays).toContain('PEER_LOST');
    const columns = [0, 5, 9, 13];
    results.forEach(({ tensor, report }, owner) => {
      expect(report.attempt).toBeGreaterThan(0);
      const expected = sliceAlong(whole, 1, columns[owner]!, columns[owner + 1]!);
      expect(sameBits(tensor, expected)).toBe(true);
    });

    await cluster.untilComplete();
    replays.length = 0;
    const reverse = results.map((result) => result.reverse(result.tensor));
    await cluster.untilStepRuns();
    cluster.kill(2);
    const back = await Promise.all(reverse);
    expect(replays).toContain('PEER_LOST');
    back.forEach(({ tensor }, owner) => {
      expect(sameBits(tensor, inputs[owner]!)).toBe(true);
    });
    await cluster.untilComplete();
  });

  it('while the owners compute between two exchanges: the result has the same bits', async () => {
    const inputs = stepInputs({ rows: 30, batch: 1, qHeads: 4, kvHeads: 2, headSize: 8 }, 3);
    const run = async (before?: () => Promise<void>): Promise<readonly (readonly number[])[]> =>
      await Promise.all(
        owners.clusters.map(async (connection, owner) => {
          const shard = (tensor: typeof inputs.q) => shardOf(tensor, owner * 10, owner * 10 + 10);
          const core = plainCoreAttention(before === undefined ? {} : { before });
          const attention = new UlyssesContextAttention(core, connection, { causal: true });
          const forward = await attention.forward(shard(inputs.q), shard(inputs.k), shard(inputs.v));
          const { dq, dk, dv } = await forward.backward(shard(inputs.dout));
          return [forward.out, dq, dk, dv].flatMap(({ data }) => [...data]);
        }),
      );
    const expected = await run();
    let killed = false;
    const actual = await run(async () => {
      if (!killed) cluster.kill(0);
      killed = true;
      await cluster.untilComplete();
    });
    expect(killed).toBe(true);
    expect(actual).toEqual(expected);
  });
});
