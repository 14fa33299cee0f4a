import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  connect,
  DefaultGatherSizeCalculator,
  UlyssesContextAttention,
  type TensorView,
} from '@ulysses/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { Parts, type Part } from '../support/parts.js';
import { stepInputs } from '../support/step-inputs.js';

const SHAPE = { rows: 301, batch: 1, qHeads: 6, kvHeads: 2, headSize: 32 };
const STEPS = 16;

let redis: RedisProcess;
let parts: Parts;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(() => {
  parts = new Parts({ rendezvous: `redis://127.0.0.1:${redis.port}`, cluster: randomUUID() });
});
afterEach(() => parts.stop());

const CLI = fileURLToPath(new URL('../../services/cli/dist/main.js', import.meta.url));

/** `ulysses …` to its end. */
async function cli(...args: string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, [CLI, ...args])).stdout;
}

/**
 * Trains q, k and v so that attention gives a target, by gradient descent on the mean squared error. Calls `between`
 * before every step; returns every loss and the code of every replay, by step.
 */
async function train(
  address: string,
  between: (step: number) => Promise<void>,
): Promise<{ losses: number[]; replays: string[][] }> {
  const replays: string[][] = [];
  const connection = await connect({ address, onReplay: ({ code }) => replays.at(-1)?.push(code) });
  const attention = new UlyssesContextAttention(null, connection, { causal: true });
  const { q, k, v, dout: target } = stepInputs(SHAPE, 11);
  const losses: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    await between(step);
    replays.push([]);
    const forward = await attention.forward(q, k, v);
    const error = Float32Array.from(forward.out.data as Float32Array, (each, i) => {
      return each - (target.data[i] as number);
    });
    losses.push(error.reduce((sum, each) => sum + each * each, 0) / error.length);
    const gradients = await forward.backward({ ...forward.out, data: error });
    for (const [parameter, gradient] of [
      [q, gradients.dq],
      [k, gradients.dk],
      [v, gradients.dv],
    ] as const) {
      descend(parameter, gradient);
    }
  }
  await connection.close();
  return { losses, replays };
}

function descend({ data }: TensorView, gradient: TensorView): void {
  for (let i = 0; i < data.length; i++) (data as Float32Array)[i]! -= 0.2 * (gradient.data[i] as number);
}

describe('a training run', () => {
  it('loses a rank, gets three more, gives one back by command and one by SIGTERM: 4, 3, 6, 5, 4 ranks, the same losses', async () => {
    const flags = ['--on-loss', 'shrink', '--lease', '3s'];
    const { address } = await parts.coordinator(4, ...flags);
    const ranks = await parts.ranks(4);
    await parts.ready(address, 4);
    const undisturbed = await train(address, () => Promise.resolve());
    expect(undisturbed.replays.flat()).toEqual([]);
    expect(undisturbed.losses.at(-1)! / undisturbed.losses[0]!).toBeLessThan(0.9);

    const sizes: number[] = [];
    const { losses, replays } = await train(address, async (step) => {
      if (step === 2) await ranks[1]!.end('SIGKILL');
      if (step === 6) {
        const joining = parts.ranks(3);
        expect(await cli('scale', '6', '--address', address)).toContain('has 6 ranks');
        await parts.ready(address, 6);
        ranks.push(...(await joining));
      }
      if (step === 10) expect(await cli('drain', '4', '--address', address)).toContain('rank 4 has left');
      if (step === 13) {
        const { ranks: members } = await parts.ready(address, 5);
        const leaver = ranks.find(({ member }) => member === members[0]?.rank.member);
        expect(await leaver?.end('SIGTERM')).toBe(0);
      }
      sizes.push(
        (
          await parts.until(
            address,
            'steps can run',
            ({ complete, ranks: all }) => complete || all.length < 4,
          )
        ).ranks.length,
      );
    });
    expect(sizes).toEqual(expect.arrayContaining([4, 3, 6, 5]));
    await parts.ready(address, 4);
    expect(losses).toHaveLength(STEPS);
    losses.forEach((loss, step) => {
      expect(Math.abs(loss / undisturbed.losses[step]! - 1), `loss of step ${step}`).toBeLessThan(1e-5);
    });
    // Only the loss of a rank costs a step its attempt; planned changes may cost a backward its stored forward.
    expect(
      replays
        .slice(3)
        .flat()
        .filter((code) => code !== 'HANDLE_GONE'),
    ).toEqual([]);
  });
});

describe('planned changes', () => {
  it('wait for the step that runs, and it is not repeated', async () => {
    const { address } = await parts.coordinator(3, '--on-loss', 'shrink', '--drain', '60s');
    await parts.ranks(3);
    await parts.ready(address, 3);
    const replays: string[] = [];
    const connection = await connect({ address, onReplay: ({ code }) => replays.push(code) });
    const long = stepInputs({ ...SHAPE, rows: 4001, headSize: 64 }, 3);
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const running = attention.forward(long.q, long.k, long.v);
    await parts.until(address, 'a step runs', ({ ranks }) =>
      ranks.every(({ stepsRunning }) => stepsRunning > 0),
    );
    const draining = cli('drain', '0', '--address', address);
    await running;
    expect(replays).toEqual([]);
    await draining;
    const after = await parts.ready(address, 2);
    expect(after.epoch).toBe(2);
    await attention.forward(long.q, long.k, long.v);
    expect(replays).toEqual([]);
    await connection.close();
  });

  it('are refused with the number that is wrong and those that are right', async () => {
    const { address } = await parts.coordinator(2, '--min-ranks', '2');
    await parts.ranks(2);
    await parts.ready(address, 2);
    const said = async (...args: string[]): Promise<string> => {
      return await cli(...args, '--address', address).catch(
        (error: unknown) => (error as { stderr: string }).stderr,
      );
    };
    expect(await said('scale', '1')).toContain('cp_size is 1, expected a number of ranks from 2 to 4096');
    expect(await said('drain', '7')).toContain('rank is 7, expected one of the ranks 0, 1');
    expect(await said('drain', 'one')).toContain('RANK is "one", expected a number');
  });
});

describe('a cluster of --min-ranks under --on-loss shrink', () => {
  const LEASE_MS = 1_000;

  /** Two ranks, of which one goes as `leave` has it: the size stays, steps wait, and go on with another rank. */
  async function expectStaysAtTwo(leave: (address: string, last: Part) => Promise<unknown>): Promise<void> {
    const lease = `${LEASE_MS}ms`;
    const { address } = await parts.coordinator(
      2,
      ...['--on-loss', 'shrink', '--min-ranks', '2', '--lease', lease],
    );
    const ranks = await parts.ranks(2);
    const { ranks: members } = await parts.ready(address, 2);
    const last = ranks.find(({ member }) => member === members[1]?.rank.member)!;
    const connection = await connect({ address });
    const attend = async (deadlineMs: number): Promise<unknown> => {
      const { q, k, v } = stepInputs(SHAPE, 7);
      return await new UlyssesContextAttention(null, connection).forward(q, k, v, { deadlineMs });
    };
    await attend(20_000);
    await leave(address, last);
    await parts.until(address, 'one rank is left', ({ ranks: left }) => left.length === 1);

    // The size would have changed after the length of a lease, and the step would have run.
    const details = { field: 'phase', value: 'wait for all ranks', expected: 'committed' };
    await expect(attend(3 * LEASE_MS)).rejects.toMatchObject({ code: 'DEADLINE', details });
    const waiting = attend(60_000);
    const waited = await parts.until(address, 'a step waits', ({ stepsRunning }) => stepsRunning === 1);
    expect(waited).toMatchObject({ cpSize: 2, complete: false });
    await parts.rank();
    await waiting;
    await parts.ready(address, 2);
    await connection.close();
  }

  it('does not shrink when one is lost', async () => {
    await expectStaysAtTwo((_, last) => last.end('SIGKILL'));
  });

  it('lets one leave by command, whose place is kept', async () => {
    await expectStaysAtTwo(async (address) => {
      expect(await cli('drain', '1', '--address', address)).toContain('rank 1 has left');
    });
  });
});

describe('a loss under --on-loss shrink while exchanges are aligned', () => {
  const shrinks = ['--on-loss', 'shrink', '--lease', '1s'];
  const EIGHT_HEADS = stepInputs({ ...SHAPE, rows: 40, qHeads: 8 }, 5);

  /** Four ranks that ran an aligned step of eight heads, and then three. */
  async function threeLeft(...flags: string[]): Promise<{ address: string; attend: () => Promise<unknown> }> {
    const { address } = await parts.coordinator(4, ...shrinks, ...flags);
    const ranks = await parts.ranks(4);
    await parts.ready(address, 4);
    const attend = async (): Promise<unknown> => {
      const connection = await connect({ address });
      try {
        const { q, k, v } = EIGHT_HEADS;
        const aligned = { gatherSizeCalculator: new DefaultGatherSizeCalculator() };
        const attention = new UlyssesContextAttention(null, connection, aligned);
        return await attention.forward(q, k, v, { deadlineMs: 20_000 });
      } finally {
        await connection.close();
      }
    };
    await attend();
    await ranks[3]!.end('SIGKILL');
    return { address, attend };
  }

  it('goes on with as many ranks as divide the heads', async () => {
    const { address, attend } = await threeLeft();
    await attend();
    await parts.ready(address, 2);
  });

  it('tells steps why they cannot run when there is no such number', async () => {
    const { address, attend } = await threeLeft('--min-ranks', '3');
    await expect(attend()).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
      details: {
        field: 'cp_size',
        value: '3',
        expected: 'one from 3 to 3 that divides q_heads 8, as exchanges are aligned',
      },
    });
    await parts.rank();
    await parts.ready(address, 4);
    await attend();
  });
});
