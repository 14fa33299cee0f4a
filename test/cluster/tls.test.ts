import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { connect, UlyssesContextAttention, type Cluster, type TlsFiles } from '@ulysses/client';
import type { UlyssesError } from '@ulysses/errors';
import { toUlyssesError } from '@ulysses/errors';
import { describe, expect, it, onTestFinished } from 'vitest';
import { certificates } from '../support/certificates.js';
import {
  startCluster,
  startCoordinator,
  startProcess,
  tlsFlags,
  type TestCluster,
} from '../support/cluster.js';
import { stepInputs } from '../support/step-inputs.js';

const INPUTS = stepInputs({ rows: 64, batch: 1, qHeads: 6, kvHeads: 2, headSize: 16 }, 5);
/** New certificates are looked at once a second. */
const GIVE_UP_MS = 10_000;
const CLI = new URL('../../services/cli/dist/main.js', import.meta.url).pathname;

/** Ranks and trainers dial by TCP: unix sockets have no certificates. */
async function clusterWith(tls: TlsFiles | null): Promise<TestCluster> {
  const cluster = await startCluster({ cpSize: 2, tls, env: { ULYSSES_TRANSPORT: 'tcp' } });
  onTestFinished(async () => {
    await cluster.stop();
  });
  return cluster;
}

async function trainer(
  address: string,
  tls: TlsFiles | null,
  route: 'direct' | 'relay' = 'direct',
): Promise<Cluster> {
  const connection = await connect({ address, tls, route, transport: 'tcp' });
  onTestFinished(() => connection.close());
  return connection;
}

async function step(connection: Cluster): Promise<'done' | UlyssesError> {
  const { q, k, v } = INPUTS;
  return await new UlyssesContextAttention(null, connection, { keep: 'none' }).forward(q, k, v).then(
    () => 'done',
    (thrown: unknown) => toUlyssesError(thrown),
  );
}

describe('a trainer', () => {
  it('with wrong certificates hears UNAUTHENTICATED and what is wrong', async () => {
    const files = await certificates();
    const { address } = await clusterWith(files.member);
    const pretender = { ...files.stranger, ca: files.member.ca };
    for (const [tls, reason] of [
      [null, 'it speaks TLS'],
      [files.stranger, 'its certificate is not accepted'],
      [pretender, "it does not accept this process's certificate"],
      [files.expired, "it does not accept this process's certificate"],
      [{ ...files.other, serverName: 'ulysses.internal' }, 'ulysses.internal'],
    ] as const) {
      const error = await step(await trainer(address, tls));
      expect(error).toMatchObject({ code: 'UNAUTHENTICATED' });
      expect((error as UlyssesError).message).toContain(reason);
    }
    expect(await step(await trainer(address, files.other))).toBe('done');
    expect(await step(await trainer(address, files.other, 'relay'))).toBe('done');
  });

  it('with certificates hears so from a cluster in plaintext', async () => {
    const { member } = await certificates();
    const { address } = await clusterWith(null);
    const error = await step(await trainer(address, member));
    expect(error).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect((error as UlyssesError).message).toContain('it does not speak TLS');
  });
});

describe('certificates of a running cluster', () => {
  it('change on both ports without a restart, and connections of before go on', async () => {
    const files = await certificates();
    const folder = mkdtempSync(join(tmpdir(), 'ulysses-tls-'));
    onTestFinished(() => {
      rmSync(folder, { recursive: true });
    });
    const put = (from: TlsFiles): void => {
      cpSync(dirname(from.cert), folder, { recursive: true });
    };
    put(files.member);
    const file = (what: string): string => join(folder, `${what}.pem`);
    const { address } = await clusterWith({ cert: file('cert'), key: file('key'), ca: file('ca') });
    const old = await trainer(address, files.other);
    expect(await step(old)).toBe('done');

    put(files.stranger);
    const giveUpAt = performance.now() + GIVE_UP_MS;
    let outcome = await step(await trainer(address, files.stranger));
    while (outcome !== 'done' && performance.now() < giveUpAt)
      outcome = await step(await trainer(address, files.stranger));
    expect(outcome).toBe('done');
    expect(await step(await trainer(address, files.other))).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(await step(old)).toBe('done');
  });
});

describe('a port that others could reach', () => {
  it.each([
    ['coordinator', ['--context-parallel-size', '1', '--listen', '0.0.0.0:0', '--advertise', '127.0.0.1']],
    ['rank', ['--rendezvous', '127.0.0.1:1', '--tensor-listen', '0.0.0.0:0']],
  ])('is refused to a %s in plaintext, saying what to do', async (service, flags) => {
    const refused = startProcess([CLI, service, ...flags]);
    await expect(refused).rejects.toThrow(/CONFIG: .*listen is "0\.0\.0\.0:0".*--tls-cert.*--insecure/s);
  });

  it('is opened with certificates, and in plaintext with --insecure', async () => {
    const { member } = await certificates();
    const open = ['--context-parallel-size', '1', '--listen', '0.0.0.0:0', '--advertise', '127.0.0.1'];
    for (const flags of [tlsFlags(member), ['--insecure']]) {
      const { child, firstLine } = await startProcess([CLI, 'coordinator', ...open, ...flags]);
      onTestFinished(() => void child.kill('SIGTERM'));
      expect(firstLine.controlAddress).toMatch(/^127\.0\.0\.1:/);
    }
  });
});

/** Linux takes the address for this host. It is no loopback address, and so stands for those beyond. */
describe.runIf(process.platform === 'linux')('an address beyond loopback', () => {
  const beyond = (address: string): string => address.replace('127.0.0.1', '0.0.0.0');
  const refused = /CONFIG: .*is "0\.0\.0\.0:\d+", expected a loopback address.*--tls-cert.*--insecure/s;

  it('is dialled by a trainer in plaintext only when it says that this is meant', async () => {
    const { address } = await clusterWith(null);
    const options = { address: beyond(address), transport: 'tcp' } as const;
    await expect(connect(options)).rejects.toMatchObject({
      code: 'CONFIG',
      details: { field: 'address', value: options.address, expected: 'a loopback address, TLS, or insecure' },
    });
    const connection = await connect({ ...options, insecure: true });
    onTestFinished(() => connection.close());
    expect(await step(connection)).toBe('done');
  });

  it('and by a command and a rank', async () => {
    const coordinator = await startCoordinator(1);
    onTestFinished(() => coordinator.stop());
    const { address } = coordinator;
    const status = (...flags: readonly string[]): SpawnSyncReturns<string> =>
      spawnSync(process.execPath, [CLI, 'status', '--address', beyond(address), ...flags], {
        encoding: 'utf8',
      });
    expect(status()).toMatchObject({ status: 2, stderr: expect.stringMatching(refused) });
    expect(status('--insecure')).toMatchObject({ status: 0 });

    const rank = [CLI, 'rank', '--rendezvous', beyond(address)];
    await expect(startProcess(rank)).rejects.toThrow(refused);
    const { child, firstLine } = await startProcess([...rank, '--insecure']);
    onTestFinished(() => void child.kill('SIGTERM'));
    expect(firstLine.ready).toBe(true);
  });
});
