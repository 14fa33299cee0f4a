import { randomUUID } from 'node:crypto';
import { connect, UlyssesContextAttention, type AttentionResult } from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import { connectCoordinator } from '@ulysses/rpc';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { Parts, type Part } from '../support/parts.js';
import { stepInputs } from '../support/step-inputs.js';

const CP_SIZE = 2;
const LONG = stepInputs({ rows: 4001, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 }, 3);

let redis: RedisProcess;
let parts: Parts;
let leader: Part;
let standby: Part;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(async () => {
  parts = new Parts({ rendezvous: `redis://127.0.0.1:${redis.port}`, cluster: randomUUID() });
  leader = await parts.coordinator(CP_SIZE);
  const starting = parts.ranks(CP_SIZE);
  await parts.ready(leader.address, CP_SIZE);
  await starting;
  standby = await parts.coordinator(CP_SIZE);
  await parts.follows(standby.address, leader.address);
});
afterEach(() => parts.stop());

/** What a trainer does that was told of both; the standby comes first. */
async function forward(replays: UlyssesError[]): Promise<AttentionResult> {
  const connection = await connect({
    address: `${standby.address},${leader.address}`,
    onReplay: (error) => replays.push(error),
  });
  try {
    return await new UlyssesContextAttention(null, connection, { causal: true }).forward(
      LONG.q,
      LONG.k,
      LONG.v,
    );
  } finally {
    await connection.close();
  }
}

async function untilStepRuns(): Promise<void> {
  await parts.until(leader.address, 'a step runs', ({ ranks }) =>
    ranks.every(({ stepsRunning }) => stepsRunning > 0),
  );
}

describe('two coordinators of one cluster', () => {
  it('one leads, and the other says who', async () => {
    const client = connectCoordinator(standby.address);
    const asked: unknown = await client.getStatus({}).catch((error: unknown) => error);
    client.close();
    expect(asked).toBeInstanceOf(UlyssesError);
    expect(asked).toMatchObject({ code: 'PEER_LOST', details: { leader: leader.address } });
    const replays: UlyssesError[] = [];
    await forward(replays);
    expect(replays.map(({ details }) => details['leader'])).toEqual([leader.address]);
  });

  it('the end of the one that waits disturbs no step', async () => {
    const replays: UlyssesError[] = [];
    const running = forward(replays);
    await untilStepRuns();
    await standby.end('SIGKILL');
    await running;
    expect(replays).toHaveLength(1);
  });

  it('the death of the leader is survived by its step: it is replayed through the other, with the same bits', async () => {
    const expected = await forward([]);
    const replays: UlyssesError[] = [];
    const running = forward(replays);
    await untilStepRuns();
    await leader.end('SIGKILL');
    const { out } = await running;
    expect(replays.length).toBeGreaterThan(1);
    expect(Buffer.from(out.data.buffer).equals(Buffer.from(expected.out.data.buffer))).toBe(true);
    await parts.ready(standby.address, CP_SIZE);
  });

  it('a leader that is told to end is followed at once, not after its lease', async () => {
    const before = await parts.ready(leader.address, CP_SIZE);
    expect(await leader.end('SIGTERM')).toBe(0);
    const after = await parts.ready(standby.address, CP_SIZE);
    expect(after.epoch).toBe(before.epoch);
  });
});
