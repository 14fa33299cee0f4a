import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, UlyssesContextAttention } from '@ulysses/client';
import { connectCoordinator } from '@ulysses/rpc';
import { expect, it, onTestFinished } from 'vitest';
import { startCluster } from '../support/cluster.js';
import { stepInputs } from '../support/step-inputs.js';

const INPUTS = stepInputs({ rows: 64, batch: 1, qHeads: 6, kvHeads: 2, headSize: 16 }, 5);
const CLI = new URL('../../services/cli/dist/main.js', import.meta.url).pathname;

it('the trace of a step says what coordinator and every rank did, in order and within one another', async () => {
  const cluster = await startCluster({ cpSize: 2 });
  onTestFinished(() => cluster.stop());
  const connection = await connect({ address: cluster.address, job: 'traced', session: 's' });
  onTestFinished(() => connection.close());
  const { q, k, v, dout } = INPUTS;
  const forward = await new UlyssesContextAttention(null, connection).forward(q, k, v);
  await forward.backward(dout);
  await cluster.untilIdle();

  const coordinator = connectCoordinator(cluster.address);
  onTestFinished(() => {
    coordinator.close();
  });
  const status = await coordinator.getStatus({ trace: 'traced/s/0/forward' });
  const [coordinated] = status.traces;
  expect(coordinated?.step).toMatchObject({ job: 'traced', session: 's', call: 0, pass: 'forward' });
  const phases = coordinated!.spans.map(({ phase }) => phase);
  expect([phases.at(0), phases.at(-1)]).toEqual(['agree', 'run']);
  expect(status.ranks).toHaveLength(2);
  for (const { traces } of status.ranks) {
    expect(traces).toHaveLength(1);
    const { step, spans } = traces[0]!;
    expect(step).toEqual(coordinated!.step);
    for (const phase of ['agree', 'wait', 'compute', 'commit', 'transfer in', 'transfer out'])
      expect(spans.map((span) => span.phase)).toContain(phase);
    const own = spans.filter(({ phase }) => !phase.startsWith('transfer'));
    expect(own[0]!.phase).toBe('agree');
    own.forEach(({ beginUs, endUs }, i) => {
      expect(endUs).toBeGreaterThanOrEqual(beginUs);
      // Rounded apart.
      expect(beginUs).toBeGreaterThanOrEqual((own[i - 1]?.endUs ?? 0) - 2);
    });
    expect(own[0]!.beginUs).toBeGreaterThanOrEqual(coordinated!.spans[0]!.beginUs);
  }
  expect((await coordinator.getStatus({ trace: 'nobody' })).traces).toEqual([]);
  expect((await coordinator.getStatus({})).ranks.map(({ traces }) => traces)).toEqual([[], []]);

  const folder = mkdtempSync(join(tmpdir(), 'ulysses-trace-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const out = join(folder, 'step.json');
  const drawn = execFileSync(process.execPath, [
    CLI,
    'trace',
    'last',
    '--address',
    cluster.address,
    '--out',
    out,
  ]);
  expect(String(drawn)).toMatch(
    /^step traced\/s\/0\/backward\/0: .*\n\ncoordinator \|.*\nrank 0 .*\nrank 0 in .*\nrank 0 out .*\nrank 1 /,
  );
  const { traceEvents } = JSON.parse(readFileSync(out, 'utf8')) as { traceEvents: { name: string }[] };
  expect(traceEvents.map(({ name }) => name)).toContain('compute');
});

it('the trace of a long step shows rows on their way while the device computes', async () => {
  const cluster = await startCluster({ cpSize: 2 });
  onTestFinished(() => cluster.stop());
  const connection = await connect({ address: cluster.address, job: 'long', session: 's' });
  onTestFinished(() => connection.close());
  const long = stepInputs({ rows: 2048, batch: 1, qHeads: 8, kvHeads: 8, headSize: 32 }, 5);
  await new UlyssesContextAttention(null, connection, { causal: true }).forward(long.q, long.k, long.v);
  await cluster.untilIdle();

  const coordinator = connectCoordinator(cluster.address);
  onTestFinished(() => {
    coordinator.close();
  });
  const { ranks } = await coordinator.getStatus({ trace: 'last' });
  expect(ranks).toHaveLength(2);
  for (const { traces } of ranks) {
    const of = (name: string) => traces[0]!.spans.filter(({ phase }) => phase === name);
    const [out] = of('transfer out');
    const beside = of('compute').filter(({ beginUs, endUs }) => beginUs < out!.endUs && endUs > out!.beginUs);
    // Of the first call nothing has left yet.
    expect(of('compute').length).toBeGreaterThan(1);
    expect(beside.length).toBeGreaterThanOrEqual(of('compute').length - 1);
  }
});
