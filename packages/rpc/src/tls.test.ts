import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import type { TlsFiles } from '@ulysses/runtime';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeTestCertificates } from '../../../scripts/test-certificates.mjs';
import { connectRendezvous, type RendezvousClient } from './connect.js';
import { rendezvousService, serve, type ControlServer } from './serve.js';

// Both ends over loopback, each with certificates of its own.

const folder = mkdtempSync(join(tmpdir(), 'ulysses-tls-'));
const closers: { close(graceMs: number): unknown }[] = [];
beforeAll(async () => {
  await writeTestCertificates(folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
afterEach(async () => {
  for (const each of closers.splice(0).reverse()) await each.close(0);
});

/** Longest that either end is left without an answer. */
const TOLD_WITHIN_MS = 5000;

function files(name: string): TlsFiles {
  const file = (what: string): string => join(folder, name, `${what}.pem`);
  return { cert: file('cert'), key: file('key'), ca: file('ca') };
}

async function unused(): Promise<never> {
  return Promise.reject(new UlyssesError('INVARIANT', 'this test does not call it'));
}

async function started(tls: TlsFiles | null): Promise<ControlServer> {
  const handlers = { join: unused, renew: unused, revoke: unused, leave: async () => Promise.resolve({}) };
  const server = await serve({ listen: '127.0.0.1:0', services: [rendezvousService(handlers)], tls });
  closers.push(server);
  return server;
}

function connected(address: string, tls: TlsFiles | null): RendezvousClient {
  const client = connectRendezvous(address, { tls });
  closers.push(client);
  return client;
}

async function call(client: RendezvousClient): Promise<'answered' | UlyssesError> {
  return await client.leave({ member: 'm' }, { deadlineMs: TOLD_WITHIN_MS }).then(
    () => 'answered',
    (thrown: unknown) => toUlyssesError(thrown),
  );
}

describe('a call over mutual TLS', () => {
  it('is answered when both ends accept each other, by host and by a name', async () => {
    const { address } = await started(files('member'));
    expect(await call(connected(address, files('other')))).toBe('answered');
    const named = await started(files('elsewhere'));
    const byName = { ...files('other'), serverName: 'ulysses.internal' };
    expect(await call(connected(named.address, byName))).toBe('answered');
  });

  /** The server's authority with the certificate of another: it accepts the server, and is not accepted. */
  const pretender = (): TlsFiles => ({ ...files('stranger'), ca: files('member').ca });

  it.each([
    ['TLS and the client not', () => files('member'), () => null, 'it speaks TLS'],
    ['plaintext and the client TLS', () => null, () => files('member'), 'it does not speak TLS'],
    ['a certificate of another authority', () => files('stranger'), () => files('member'), 'not accepted: '],
    ['an expired certificate', () => files('expired'), () => files('member'), 'CERT_HAS_EXPIRED'],
    ['a certificate of another host', () => files('elsewhere'), () => files('member'), 'IP: 127.0.0.1'],
    ['an authority that the client has not', () => files('member'), pretender, "this process's certificate"],
    ['no expired clients', () => files('member'), () => files('expired'), "this process's certificate"],
  ])('is UNAUTHENTICATED, saying why, when the server has %s', async (_, server, client, reason) => {
    const { address } = await started(server());
    const error = await call(connected(address, client()));
    expect(error).toMatchObject({ code: 'UNAUTHENTICATED', details: { field: 'tls', address } });
    expect((error as UlyssesError).message).toContain(reason);
    expect((error as UlyssesError).message).toContain(address);
  });

  it('is PEER_LOST, not a matter of certificates, when nobody listens', async () => {
    const server = await started(files('member'));
    await server.close(0);
    expect(await call(connected(server.address, files('member')))).toMatchObject({ code: 'PEER_LOST' });
  });

  it('is not answered for a client without a certificate', async () => {
    const { address } = await started(files('member'));
    const [host, port] = address.split(':');
    const ca = readFileSync(files('member').ca);
    const socket = connect({ host: host!, port: Number(port), ca, ALPNProtocols: ['h2'] });
    let heard = 0;
    socket.on('data', (bytes: Buffer) => (heard += bytes.length));
    const [alert] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(alert.code).toBe('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED');
    expect(heard).toBe(0);
  });
});

describe('files that cannot be used', () => {
  it.each([
    ['cert', (): TlsFiles => ({ ...files('member'), cert: join(folder, 'nowhere.pem') })],
    ['key', (): TlsFiles => ({ ...files('member'), key: files('other').key })],
    ['ca', (): TlsFiles => ({ ...files('member'), ca: files('member').key })],
  ])('are CONFIG and named: %s', async (what, tls) => {
    const refusal = { code: 'CONFIG', details: { field: `tls.${what}` } };
    const connecting = async (): Promise<unknown> => Promise.resolve(connected('127.0.0.1:1', tls()));
    await expect(connecting()).rejects.toMatchObject(refusal);
    await expect(started(tls())).rejects.toMatchObject(refusal);
  });
});

/** Calls until it is answered: certificates are looked at once a second. */
async function answeredSoon(client: () => RendezvousClient): Promise<void> {
  const giveUpAt = performance.now() + TOLD_WITHIN_MS;
  for (;;) {
    const outcome = await call(client());
    if (outcome === 'answered') return;
    if (performance.now() > giveUpAt) throw outcome;
  }
}

describe('files that change', () => {
  it('serve new connections, and old connections go on', async () => {
    cpSync(join(folder, 'member'), join(folder, 'changing'), { recursive: true });
    const { address } = await started(files('changing'));
    const old = connected(address, files('member'));
    expect(await call(old)).toBe('answered');
    // Half a change: those of before serve.
    cpSync(files('stranger').key, files('changing').key);
    expect(await call(connected(address, files('other')))).toBe('answered');
    cpSync(join(folder, 'stranger'), join(folder, 'changing'), { recursive: true });

    await answeredSoon(() => connected(address, files('stranger')));
    expect(await call(connected(address, files('member')))).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(await call(old)).toBe('answered');
  });

  it('are what a client connects with next', async () => {
    cpSync(join(folder, 'member'), join(folder, 'client'), { recursive: true });
    const { address } = await started(files('stranger'));
    const client = connected(address, files('client'));
    expect(await call(client)).toMatchObject({ code: 'UNAUTHENTICATED' });
    cpSync(join(folder, 'stranger'), join(folder, 'client'), { recursive: true });
    await answeredSoon(() => client);
  });
});
