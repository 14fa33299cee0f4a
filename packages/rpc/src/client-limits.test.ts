import { once } from 'node:events';
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UlyssesError } from '@ulysses/errors';
import { AsyncQueue, type TlsFiles } from '@ulysses/runtime';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeTestCertificates } from '../../../scripts/test-certificates.mjs';
import { connectRank } from './connect.js';
import { MAX_MESSAGE_BYTES } from './load-proto.js';
import type { RankEvent, TermedCommand } from './messages.js';
import { rankService, serve, type ControlServer } from './serve.js';

// Many such clients at real processes: test/fault/hostile-clients.test.ts. Here is what they cannot show.

const SLOW_MS = 200;
const STATUS_PATH = '/ulysses.v1.RankService/GetRankStatus';
const STEPS_PATH = '/ulysses.v1.RankService/Steps';
const [DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED] = ['4', '8'];

const folder = mkdtempSync(join(tmpdir(), 'ulysses-limits-'));
const closers: (() => unknown)[] = [];
beforeAll(async () => {
  await writeTestCertificates(folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function unused(): Promise<never> {
  return Promise.reject(new UlyssesError('INVARIANT', 'this test does not call it'));
}

/** Answers every command with an event. */
async function started(slowClientMs: number, tls: TlsFiles | null = null): Promise<ControlServer> {
  async function* steps(commands: AsyncIterable<TermedCommand>): AsyncGenerator<RankEvent> {
    for await (const command of commands) {
      if (command.kind === 'commit') yield { kind: 'finished', step: command.step };
    }
  }
  const services = [rankService({ steps, getRankStatus: unused })];
  const server = await serve({ listen: '127.0.0.1:0', services, tls, slowClientMs });
  closers.push(() => server.close(0));
  return server;
}

function dialled(address: string): ClientHttp2Session {
  // What waits to be sent counts, and beyond it answers are refused.
  const session = connectHttp2(`http://${address}`, { maxSessionMemory: 200 });
  session.on('error', () => undefined);
  closers.push(() => {
    session.destroy();
  });
  return session;
}

function called(session: ClientHttp2Session, path: string): ClientHttp2Stream {
  const call = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc' });
  call.on('error', () => undefined).resume();
  return call;
}

async function statusOf(call: ClientHttp2Stream): Promise<unknown> {
  const [headers] = (await once(call, 'response')) as [Record<string, unknown>];
  return headers['grpc-status'];
}

function announced(bytes: number): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes, 1);
  return prefix;
}

describe('a client that is slow', () => {
  it.each([
    ['plaintext', () => null],
    ['TLS', (): TlsFiles => fileSet('member')],
  ])('is cut off when it says nothing to a port of %s', async (_, tls) => {
    const { address } = await started(SLOW_MS, tls());
    const socket = connect({ host: '127.0.0.1', port: Number(address.split(':')[1]) });
    socket.on('error', () => undefined).resume();
    await new Promise((resolve) => socket.once('close', resolve));
  });

  it('is told DEADLINE when a call has a message and the request does not end', async () => {
    const { address } = await started(SLOW_MS);
    const call = called(dialled(address), STATUS_PATH);
    call.write(announced(0));
    expect(await statusOf(call)).toBe(DEADLINE_EXCEEDED);
  });

  it('may be silent between the messages of a stream, and not within one', async () => {
    const { address } = await started(SLOW_MS);
    const commands = new AsyncQueue<TermedCommand>();
    const client = connectRank(address);
    closers.push(() => client.close());
    const events = client.steps(commands);
    const step = { job: 'j', session: 's', call: 0, pass: 'forward' as const, attempt: 0 };
    commands.push({ kind: 'commit', term: 1, step });
    expect(await events.next()).toMatchObject({ value: { kind: 'finished' } });
    const other = called(dialled(address), STEPS_PATH);
    other.write(announced(100));
    expect(await statusOf(other)).toBe(DEADLINE_EXCEEDED);
    commands.push({ kind: 'commit', term: 1, step });
    expect(await events.next()).toMatchObject({ value: { kind: 'finished' } });
  });
});

it('what unfinished messages of one connection hold is bounded: the call that goes beyond is told OVERLOADED', async () => {
  const { address } = await started(60_000);
  const session = dialled(address);
  const part = Buffer.concat([announced(MAX_MESSAGE_BYTES), Buffer.alloc(MAX_MESSAGE_BYTES - 1)]);
  const answers = Array.from({ length: 3 }, () => {
    const call = called(session, STATUS_PATH);
    call.write(part);
    return statusOf(call);
  });
  expect(await Promise.race(answers)).toBe(RESOURCE_EXHAUSTED);
});

function fileSet(name: string): TlsFiles {
  const file = (what: string): string => join(folder, name, `${what}.pem`);
  return { cert: file('cert'), key: file('key'), ca: file('ca') };
}
