import { randomUUID } from 'node:crypto';
import { connect, UlyssesContextAttention, type AttentionResult } from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import { connectCoordinator, connectRank, type TermedCommand } from '@ulysses/rpc';
import { AsyncQueue } from '@ulysses/runtime';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { startCluster } from '../support/cluster.js';
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

/** What a coordinator of `term` hears that connects to a rank now and says that an epoch began. */
async function commandOfTerm(term: number, controlAddress: string): Promise<unknown> {
  const client = connectRank(controlAddress);
  const commands = new AsyncQueue<TermedCommand>();
  commands.push({ kind: 'enter-epoch', term, epoch: 99, ranks: [] });
  try {
    for await (const event of client.steps(commands)) return event;
    return null;
  } catch (thrown) {
    return thrown;
  } finally {
    client.close();
  }
}

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

  it('a leader that is told to end lets its step end first; the next one has its stored forward, and nothing is repeated', async () => {
    const replays: UlyssesError[] = [];
    const connection = await connect({
      address: `${leader.address},${standby.address}`,
      onReplay: (error) => replays.push(error),
    });
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const running = attention.forward(LONG.q, LONG.k, LONG.v);
    await untilStepRuns();
    const ending = leader.end('SIGTERM');
    const forwarded = await running;
    expect(replays).toEqual([]);
    expect(await ending).toBe(0);
    await forwarded.backward(LONG.dout);
    expect(replays.map(({ code }) => code)).not.toContain('HANDLE_GONE');
    await connection.close();
  });

  it('a leader that stood still and was deposed disturbs no step of the next: its late commands are refused', async () => {
    const before = await parts.ready(leader.address, CP_SIZE);
    process.kill(leader.pid, 'SIGSTOP');
    await parts.ready(standby.address, CP_SIZE);
    const replays: UlyssesError[] = [];
    const connection = await connect({ address: standby.address, onReplay: (error) => replays.push(error) });
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const running = attention.forward(LONG.q, LONG.k, LONG.v);
    await parts.until(standby.address, 'a step runs', ({ ranks }) =>
      ranks.every(({ stepsRunning }) => stepsRunning > 0),
    );
    for (const { rank } of before.ranks) {
      expect(await commandOfTerm(1, rank.controlAddress)).toMatchObject({
        code: 'LEASE_LOST',
        details: { field: 'term', value: '1', expected: 'at least 2, of the coordinator that leads' },
      });
    }
    process.kill(leader.pid, 'SIGCONT');
    await parts.follows(leader.address, standby.address);
    await running;
    expect(replays).toEqual([]);
    await connection.close();
  });

  it('a number that no election could give is refused, and the leader leads on', async () => {
    const { ranks } = await parts.ready(leader.address, CP_SIZE);
    expect(await commandOfTerm(2 ** 52, ranks[0]!.rank.controlAddress)).toMatchObject({
      code: 'SHAPE_MISMATCH',
      details: { field: 'term', value: String(2 ** 52), expected: `at most ${2 ** 31 + 1}` },
    });
    expect(await forward([])).toBeDefined();
  });

  it('a term that coordinators and Redis forgot is learnt from the ranks', async () => {
    await leader.end('SIGKILL');
    await parts.ready(standby.address, CP_SIZE);
    await Promise.all([standby.end('SIGKILL'), redis.stop()]);
    redis = await startRedis({ port: redis.port });
    const third = await parts.coordinator(CP_SIZE);
    const { ranks } = await parts.ready(third.address, CP_SIZE);
    expect(await commandOfTerm(2, ranks[0]!.rank.controlAddress)).toMatchObject({ code: 'LEASE_LOST' });
  });
});

describe('the only coordinator of an embedded cluster', () => {
  it('leads on in a later term when somebody else told a rank of one', async () => {
    const cluster = await startCluster({ cpSize: 2 });
    try {
      const { ranks } = await parts.ready(cluster.address, 2);
      const { controlAddress } = ranks[0]!.rank;
      // It has no rank in the epoch that it is told of, and takes nothing from that coordinator but its term.
      expect(await commandOfTerm(5, controlAddress)).toMatchObject({ details: { field: 'ranks' } });
      const connection = await connect({ address: cluster.address });
      await new UlyssesContextAttention(null, connection).forward(LONG.q, LONG.k, LONG.v);
      await connection.close();
      expect(await commandOfTerm(5, controlAddress)).toMatchObject({
        code: 'LEASE_LOST',
        details: { expected: 'at least 6, of the coordinator that leads' },
      });
    } finally {
      await cluster.stop();
    }
  });
});
