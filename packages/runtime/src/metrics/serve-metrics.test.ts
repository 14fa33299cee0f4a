import { afterEach, describe, expect, it } from 'vitest';
import { Metrics } from './metrics.js';
import { serveMetrics, type MetricsServer } from './serve-metrics.js';

const open: MetricsServer[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()));
});

async function serving(metrics: Metrics, ready: () => string | null = () => null): Promise<MetricsServer> {
  const server = await serveMetrics({ listen: '127.0.0.1:0', metrics, probes: { '/readyz': ready } });
  open.push(server);
  return server;
}

async function get(address: string, path: string, method = 'GET'): Promise<[number, string]> {
  const response = await fetch(`http://${address}${path}`, { method });
  return [response.status, await response.text()];
}

describe('the port for metrics and probes', () => {
  it('is alive while the process is, and says why it is not ready', async () => {
    let reason: string | null = 'holds no rank';
    const { address } = await serving(new Metrics(), () => reason);
    expect(await get(address, '/healthz')).toEqual([200, 'alive\n']);
    expect(await get(address, '/readyz')).toEqual([503, 'holds no rank\n']);
    reason = null;
    expect(await get(address, '/readyz?verbose')).toEqual([200, 'ready\n']);
  });

  it('reads sums and gauges when it is asked, and adds up what is counted', async () => {
    const metrics = new Metrics();
    const labels = ['pass'];
    const add = metrics.counter({ name: 'ulysses_steps_total', help: 'Steps.', labels });
    let bytes = 3;
    metrics.sum({ name: 'ulysses_bytes_total', help: 'Bytes.', labels }, () => [
      { labels: { pass: 'forward' }, value: bytes },
    ]);
    metrics.gauge({ name: 'ulysses_age_seconds', help: 'Age.', labels: [] }, () => bytes / 2);
    let members = ['a', 'b'];
    metrics.gauge({ name: 'ulysses_member', help: 'Members.', labels: ['member'] }, async () => {
      return members.map((member) => ({ labels: { member }, value: 1 }));
    });
    const { address } = await serving(metrics);
    add({ pass: 'backward' }, 1);
    add({ pass: 'backward' }, 2);
    const [status, first] = await get(address, '/metrics');
    expect(status).toBe(200);
    for (const line of [
      'ulysses_steps_total{pass="backward"} 3',
      'ulysses_bytes_total{pass="forward"} 3',
      'ulysses_age_seconds 1.5',
      'ulysses_member{member="a"} 1',
    ]) {
      expect(first.split('\n')).toContain(line);
    }
    expect(first).toContain('process_resident_memory_bytes');
    [bytes, members] = [8, ['b']];
    const [, second] = await get(address, '/metrics');
    expect(second.split('\n')).toContain('ulysses_bytes_total{pass="forward"} 8');
    expect(second).not.toContain('member="a"');
  });

  it('refuses other paths and methods', async () => {
    const { address } = await serving(new Metrics());
    expect((await get(address, '/'))[0]).toBe(404);
    expect((await get(address, '/metrics', 'POST'))[0]).toBe(405);
  });

  it('that is taken is CONFIG', async () => {
    const { address } = await serving(new Metrics());
    const second = serveMetrics({ listen: address, metrics: new Metrics(), probes: {} });
    await expect(second).rejects.toMatchObject({ code: 'CONFIG', details: { field: 'metrics' } });
    const nowhere = serveMetrics({ listen: 'here', metrics: new Metrics(), probes: {} });
    await expect(nowhere).rejects.toMatchObject({ code: 'CONFIG', details: { value: '"here"' } });
  });
});
