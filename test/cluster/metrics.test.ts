import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { connect, UlyssesContextAttention } from '@ulysses/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findPromtool } from '../../scripts/promtool.mjs';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { healthOf } from '../support/health.js';
import { Parts, type Part } from '../support/parts.js';
import { stepInputs } from '../support/step-inputs.js';

const METRICS = ['--metrics', '127.0.0.1:0'];
/** Many times what a lease lives. */
const RENEWED_MS = 30_000;
const SHAPE = { rows: 301, batch: 1, qHeads: 6, kvHeads: 2, headSize: 32 };

let redis: RedisProcess;
let parts: Parts;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(() => {
  const rendezvous = `redis://127.0.0.1:${redis.port}`;
  parts = new Parts({ rendezvous, cluster: randomUUID(), flags: METRICS });
});
afterEach(() => parts.stop());

async function read({ metricsAddress }: Part, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://${metricsAddress}${path}`);
  return { status: response.status, text: await response.text() };
}

/** Every sample by its name with labels, after promtool found nothing to complain about. */
async function scrape(part: Part): Promise<ReadonlyMap<string, number>> {
  const { text } = await read(part, '/metrics');
  execFileSync(findPromtool(), ['check', 'metrics'], { input: text, stdio: ['pipe', 'pipe', 'pipe'] });
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    samples.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

/** Resolves when the age of a part's lease has grown and a renewal has set it back. */
async function untilRenewed(part: Part): Promise<void> {
  const age = async (): Promise<number> => {
    const { text } = await read(part, '/metrics');
    const [, seconds] = /^ulysses_lease_age_seconds ([\d.e-]+)$/m.exec(text) ?? [];
    if (seconds === undefined) throw new Error(`no age of the lease in ${text}`);
    return Number(seconds);
  };
  const giveUpAt = performance.now() + RENEWED_MS;
  for (let last = await age(), next = last; next >= last; [last, next] = [next, await age()]) {
    if (performance.now() > giveUpAt) throw new Error(`not renewed within ${RENEWED_MS} ms: ${next} s`);
  }
}

const sumOf = (all: readonly ReadonlyMap<string, number>[], name: string): number =>
  all.reduce((sum, samples) => sum + (samples.get(name) ?? 0), 0);

describe('metrics', () => {
  it('of every service pass promtool, and count what a training step did', async () => {
    const coordinator = await parts.coordinator(3);
    const ranks = await parts.ranks(3);
    const { epoch } = await parts.ready(coordinator.address, 3);
    const connection = await connect({ address: coordinator.address });
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const { q, k, v, dout } = stepInputs(SHAPE, 1);
    const forward = await attention.forward(q, k, v);
    const kept = await Promise.all(ranks.map(scrape));
    expect(sumOf(kept, 'ulysses_store_handles')).toBe(3);
    expect(sumOf(kept, 'ulysses_store_bytes')).toBeGreaterThan(0);
    const { report } = await forward.backward(dout);
    await connection.close();

    const onRanks = await Promise.all(ranks.map(scrape));
    for (const samples of onRanks) {
      for (const pass of ['forward', 'backward']) {
        expect(samples.get(`ulysses_steps_total{pass="${pass}",outcome="committed"}`)).toBe(1);
        for (const phase of ['wait', 'receive', 'compute', 'return', 'commit']) {
          const seconds = samples.get(`ulysses_step_phase_seconds_total{pass="${pass}",phase="${phase}"}`);
          expect(seconds, `${pass} ${phase}`).toBeGreaterThan(0);
        }
      }
      expect(samples.get('ulysses_epoch')).toBe(epoch);
      expect(samples.get('ulysses_epoch_ready')).toBe(1);
      expect(samples.get('ulysses_store_handles')).toBe(0);
      expect(samples.get('ulysses_steps_running')).toBe(0);
    }
    // What owners sent was received by ranks, and the other way; more where a relay is between.
    const [received, sent] = ['received', 'sent'].map((direction) => {
      return sumOf(onRanks, `ulysses_payload_bytes_total{direction="${direction}"}`);
    });
    const moved = forward.report.bytesExchanged + report.bytesExchanged;
    expect(received! + sent!).toBeGreaterThanOrEqual(moved);
    expect(received! + sent!).toBeLessThanOrEqual(2 * moved);

    const led = await scrape(coordinator);
    for (const pass of ['forward', 'backward']) {
      expect(led.get(`ulysses_steps_total{pass="${pass}",outcome="committed"}`)).toBe(1);
      for (const phase of ['agree', 'ranks', 'gather_size', 'prepare', 'run']) {
        const seconds = led.get(`ulysses_step_phase_seconds_total{pass="${pass}",phase="${phase}"}`);
        expect(seconds, `${pass} ${phase}`).toBeGreaterThan(0);
      }
    }
    expect(led.get('ulysses_epoch')).toBe(epoch);
    expect([led.get('ulysses_ranks'), led.get('ulysses_ranks_wanted')]).toEqual([3, 3]);
    expect([led.get('ulysses_leading'), led.get('ulysses_term')]).toEqual([1, 1]);
    const members = [...led.keys()].filter((name) => name.startsWith('ulysses_member_lease_age_seconds'));
    expect(members).toHaveLength(3);
    await Promise.all([coordinator, ...ranks].map(untilRenewed));
  });
});

describe('probes', () => {
  /** By HTTP and by gRPC: whether the process is alive, whether its service is ready, and why it is not. */
  async function probed(part: Part, service: 'RankService' | 'CoordinatorService'): Promise<object> {
    const [alive, ready] = [await read(part, '/healthz'), await read(part, '/readyz')];
    return {
      alive: [alive.status, await healthOf(part.address, '')],
      ready: [ready.status, await healthOf(part.address, `ulysses.v1.${service}`)],
      why: ready.text.trim(),
    };
  }
  const ALIVE = [200, 'SERVING'];
  const READY = { alive: ALIVE, ready: [200, 'SERVING'], why: 'ready' };
  const unready = (why: string): object => ({ alive: ALIVE, ready: [503, 'NOT_SERVING'], why });

  it('a rank without a seat and a coordinator that waits are alive and not ready, by HTTP and by gRPC', async () => {
    const coordinator = await parts.coordinator(2);
    const [rank] = await parts.ranks(1);
    await parts.until(coordinator.address, 'one rank joined', ({ ranks }) => ranks.length === 1);
    expect(await probed(coordinator, 'CoordinatorService')).toEqual(READY);
    expect(await probed(rank!, 'RankService')).toEqual(unready('has no seat in an epoch'));
    expect(await read(rank!, '/joinedz')).toMatchObject({ status: 200, text: 'joined\n' });
    const standby = await parts.coordinator(2);
    await parts.follows(standby.address, coordinator.address);
    const waiting = unready(`does not lead; ${coordinator.address} does`);
    expect(await probed(standby, 'CoordinatorService')).toEqual(waiting);
    const other = await parts.rank();
    await parts.ready(coordinator.address, 2);
    expect(await probed(rank!, 'RankService')).toEqual(READY);

    await other.end('SIGKILL');
    await parts.until(coordinator.address, 'one rank is left', ({ ranks }) => ranks.length === 1);
    await coordinator.end('SIGKILL');
    // A rank that nobody leads has no seat; whoever leads next is ready.
    await parts.until(standby.address, 'the standby leads', () => true);
    expect(await probed(standby, 'CoordinatorService')).toEqual(READY);
    expect(await probed(rank!, 'RankService')).toEqual(unready('has no seat in an epoch'));
  });
});
