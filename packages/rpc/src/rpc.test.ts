import { Client, Metadata, credentials, status as Status } from '@grpc/grpc-js';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ERROR_TABLE, UlyssesError, type ErrorCode } from '@ulysses/errors';
import { AsyncQueue, Deferred } from '@ulysses/runtime';
import { Channel } from './channel.js';
import { connectCoordinator, connectRank, connectRendezvous } from './connect.js';
import type { Membership, TermedCommand, RankEvent } from './messages.js';
import { unaryCall } from './make-call.js';
import type { CallContext } from './method.js';
import { coordinatorService, rankService, rendezvousService, serve, type ControlServer } from './serve.js';
import {
  rendezvousMethods,
  type CoordinatorHandlers,
  type RankHandlers,
  type RendezvousHandlers,
} from './services.js';

// Real servers and clients over loopback, one pair per test.

const closers: { close(graceMs: number): unknown }[] = [];
afterEach(async () => {
  for (const each of closers.splice(0).reverse()) await each.close(0);
});

function unused(): never {
  throw new UlyssesError('INVARIANT', 'this test does not call it');
}
const COORDINATOR: CoordinatorHandlers = {
  planStep: unused,
  settleStep: unused,
  release: unused,
  watchMembership: unused,
  getStatus: unused,
  scale: unused,
  drain: unused,
};
const RANK: RankHandlers = { steps: unused, getRankStatus: unused };
const RENDEZVOUS: RendezvousHandlers = { join: unused, renew: unused, leave: unused, revoke: unused };

async function started(...services: Parameters<typeof serve>[0]['services']): Promise<ControlServer> {
  const server = await serve({ listen: '127.0.0.1:0', services });
  closers.push(server);
  return server;
}

async function coordinatorAt(handlers: Partial<CoordinatorHandlers>) {
  const server = await started(coordinatorService({ ...COORDINATOR, ...handlers }));
  const client = connectCoordinator(server.address);
  closers.push(client);
  return { server, client };
}

async function rendezvousAt(handlers: Partial<RendezvousHandlers>) {
  const server = await started(rendezvousService({ ...RENDEZVOUS, ...handlers }));
  const client = connectRendezvous(server.address);
  closers.push(client);
  return { server, client };
}

async function rankAt(steps: RankHandlers['steps']) {
  const server = await started(rankService({ ...RANK, steps }));
  const client = connectRank(server.address);
  closers.push(client);
  return { server, client };
}

const membership = (epoch: number): Membership => ({ epoch, cpSize: 2, complete: false, members: [] });
const step = { job: 'j', session: 's', call: 0, pass: 'forward' as const, attempt: 0 };

async function caught(promise: Promise<unknown>): Promise<UlyssesError> {
  const thrown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  if (!(thrown instanceof UlyssesError)) throw new Error(`expected a UlyssesError, got ${String(thrown)}`);
  return thrown;
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const value of values) list.push(value);
  return list;
}

describe('a unary call', () => {
  it('brings the request to the handler and the answer back', async () => {
    const requests: unknown[] = [];
    const { client } = await rendezvousAt({
      join: async (request) => {
        requests.push(request);
        return { rank: 1, epoch: Number.MAX_SAFE_INTEGER, leaseMs: 3000 };
      },
    });
    const request = { member: 'm', controlAddress: 'a:1', tensorAddress: 'a:2', protocolVersion: '1' };
    expect(await client.join(request)).toEqual({ rank: 1, epoch: Number.MAX_SAFE_INTEGER, leaseMs: 3000 });
    expect(requests).toEqual([request]);
  });

  it.each(Object.keys(ERROR_TABLE) as ErrorCode[])(
    'brings %s back with message and details',
    async (code) => {
      const { client } = await rendezvousAt({
        leave: async () => {
          throw new UlyssesError(code, 'rows → wrong\n', { field: 'q_rows', peer: 'owner 1', value: '12' });
        },
      });
      const error = await caught(client.leave({ member: 'm' }));
      expect(error).toMatchObject({
        code,
        message: 'rows → wrong\n',
        details: { field: 'q_rows', peer: 'owner 1', value: '12' },
      });
    },
  );

  it('turns what a handler throws by accident into INVARIANT', async () => {
    const { client } = await rendezvousAt({
      leave: async () => {
        throw new TypeError('x is not a function');
      },
    });
    expect(await caught(client.leave({ member: 'm' }))).toMatchObject({
      code: 'INVARIANT',
      message: 'x is not a function',
    });
  });

  it('brings back an error too large for the trailers, cut', async () => {
    const { client } = await rendezvousAt({
      leave: async () => {
        throw new UlyssesError('OVERLOADED', '😀'.repeat(50_000), { field: 'y'.repeat(50_000) });
      },
    });
    const { code, message } = await caught(client.leave({ member: 'm' }));
    expect(code).toBe('OVERLOADED');
    expect(message.length).toBeLessThan(2100);
  });

  it('has the status of the table for clients that know only gRPC', async () => {
    const { server } = await rendezvousAt({
      leave: async () => {
        throw new UlyssesError('HANDLE_GONE', 'no such handle');
      },
    });
    const stranger = new Client(server.address, credentials.createInsecure());
    closers.push(stranger);
    const asIs = (bytes: Buffer): Buffer => bytes;
    const failure = await new Promise<{ code: number; details: string } | null>((resolve) => {
      const path = '/ulysses.v1.RendezvousService/Leave';
      stranger.makeUnaryRequest(path, asIs, asIs, Buffer.alloc(0), new Metadata(), resolve);
    });
    expect(failure).toMatchObject({ code: Status.NOT_FOUND, details: 'no such handle' });
  });

  it('that was cancelled before it began sends nothing and throws the reason', async () => {
    const { client } = await rendezvousAt({});
    const reason = new UlyssesError('LEASE_LOST', 'gone');
    expect(await caught(client.leave({ member: 'm' }, { signal: AbortSignal.abort(reason) }))).toBe(reason);
  });

  it('leaves no listener on the signal of its caller', async () => {
    const { client } = await rendezvousAt({ leave: async () => ({}) });
    const { signal } = new AbortController();
    let listeners = 0;
    const count = (change: number, original: (...args: never[]) => void) =>
      function (this: unknown, ...args: never[]) {
        listeners += change;
        original.apply(signal, args);
      };
    signal.addEventListener = count(1, signal.addEventListener.bind(signal));
    signal.removeEventListener = count(-1, signal.removeEventListener.bind(signal));
    await client.leave({ member: 'm' }, { signal });
    expect(listeners).toBe(0);
  });
});

describe('cancelling', () => {
  it('reaches the signal of a unary handler', async () => {
    const arrived = new Deferred();
    const reason = new Deferred<unknown>();
    const { client } = await rendezvousAt({
      leave: async (_, { signal }) => {
        signal.addEventListener('abort', () => {
          reason.resolve(signal.reason);
        });
        arrived.resolve();
        return new Promise<never>(() => undefined);
      },
    });
    const controller = new AbortController();
    const call = client.leave({ member: 'm' }, { signal: controller.signal });
    await arrived.promise;
    controller.abort();
    expect((await caught(call)).code).toBe('CANCELLED');
    expect(await reason.promise).toMatchObject({ code: 'CANCELLED' });
  });

  it('ends a unary call that has only just begun', async () => {
    const { client } = await rendezvousAt({
      leave: async ({ member }) => (member === 'first' ? {} : new Promise<never>(() => undefined)),
    });
    await client.leave({ member: 'first' });
    const controller = new AbortController();
    const call = client.leave({ member: 'second' }, { signal: controller.signal });
    controller.abort();
    expect((await caught(call)).code).toBe('CANCELLED');
  });

  it('a server stream by leaving its loop reaches the signal of the handler', async () => {
    const reason = new Deferred<unknown>();
    const { client } = await coordinatorAt({
      async *watchMembership(_, { signal }) {
        signal.addEventListener('abort', () => {
          reason.resolve(signal.reason);
        });
        for (let epoch = 0; ; epoch++) yield membership(epoch);
      },
    });
    for await (const { epoch } of client.watchMembership({})) if (epoch === 40) break;
    expect(await reason.promise).toMatchObject({ code: 'CANCELLED' });
  });

  it('throws the reason of the signal when that is an error of ours', async () => {
    const arrived = new Deferred();
    const { client } = await coordinatorAt({
      async *watchMembership(_, { signal }) {
        yield membership(1);
        arrived.resolve();
        await new Promise((resolve) => {
          signal.addEventListener('abort', resolve);
        });
      },
    });
    const controller = new AbortController();
    const reading = all(client.watchMembership({}, { signal: controller.signal }));
    await arrived.promise;
    const reason = new UlyssesError('STALE_EPOCH', 'epoch 1 is over');
    controller.abort(reason);
    expect(await caught(reading)).toBe(reason);
  });

  it('by closing the connection ends running calls', async () => {
    const arrived = new Deferred();
    const { client } = await rendezvousAt({
      leave: () => {
        arrived.resolve();
        return new Promise<never>(() => undefined);
      },
    });
    const call = client.leave({ member: 'm' });
    await arrived.promise;
    client.close();
    expect((await caught(call)).code).toBe('CANCELLED');
    expect((await caught(client.leave({ member: 'm' }))).code).toBe('CANCELLED');
  });
});

describe('a deadline', () => {
  it('is known to the handler, ends the call and aborts the handler', async () => {
    const context = new Deferred<CallContext>();
    const reason = new Deferred<unknown>();
    const { client } = await rendezvousAt({
      leave: (_, received) => {
        context.resolve(received);
        received.signal.addEventListener('abort', () => {
          reason.resolve(received.signal.reason);
        });
        return new Promise<never>(() => undefined);
      },
    });
    const error = await caught(client.leave({ member: 'm' }, { deadlineMs: 150 }));
    expect(error.code).toBe('DEADLINE');
    expect(error.message).toContain('150 ms');
    const { deadlineMs, peer } = await context.promise;
    expect(deadlineMs).toBeGreaterThan(0);
    expect(deadlineMs).toBeLessThanOrEqual(150);
    expect(peer).toMatch(/^127\.0\.0\.1:\d+$/);
    // The caller's own end and the server's timer race: either reason is right.
    expect(['DEADLINE', 'CANCELLED']).toContain(((await reason.promise) as UlyssesError).code);
  });

  it('that is not set reaches the handler as null', async () => {
    const context = new Deferred<CallContext>();
    const { client } = await rendezvousAt({
      leave: async (_, received) => {
        context.resolve(received);
        return {};
      },
    });
    await client.leave({ member: 'm' });
    expect((await context.promise).deadlineMs).toBeNull();
  });

  it.each([-1, NaN, 2 ** 31])('of %s ms is refused', async (deadlineMs) => {
    const { client } = await rendezvousAt({});
    expect((await caught(client.leave({ member: 'm' }, { deadlineMs }))).details.field).toBe('deadlineMs');
  });
});

describe('a server stream', () => {
  it('delivers every message in order under back-pressure, then ends', async () => {
    const { client } = await coordinatorAt({
      async *watchMembership() {
        for (let epoch = 0; epoch < 2000; epoch++) yield { ...membership(epoch), members: [] };
      },
    });
    const epochs = (await all(client.watchMembership({}))).map(({ epoch }) => epoch);
    expect(epochs).toEqual(Array.from({ length: 2000 }, (_, i) => i));
  });

  it('delivers what was sent before a failure, then throws the failure', async () => {
    const { client } = await coordinatorAt({
      async *watchMembership() {
        for (let epoch = 0; epoch < 5; epoch++) yield membership(epoch);
        throw new UlyssesError('PEER_LOST', 'rank 2 died', { peer: 'rank 2' });
      },
    });
    const epochs: number[] = [];
    const reading = (async () => {
      for await (const { epoch } of client.watchMembership({})) {
        epochs.push(epoch);
        // A slow reader: the failure arrives while messages are still queued.
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    expect(await caught(reading)).toMatchObject({ code: 'PEER_LOST', details: { peer: 'rank 2' } });
    expect(epochs).toEqual([0, 1, 2, 3, 4]);
  });
});

describe('a bidi stream', () => {
  it('carries commands and events in order, in both directions at once', async () => {
    const { client } = await rankAt(async function* (commands) {
      for await (const command of commands) {
        if (command.kind === 'commit') yield { kind: 'finished', step: command.step };
      }
    });
    const commands = new AsyncQueue<TermedCommand>();
    const calls: number[] = [];
    commands.push({ kind: 'commit', term: 0, step });
    for await (const event of client.steps(commands)) {
      if (event.kind !== 'finished') throw new Error(event.kind);
      calls.push(event.step.call);
      if (event.step.call === 50) commands.close();
      else commands.push({ kind: 'commit', term: 0, step: { ...step, call: event.step.call + 1 } });
    }
    expect(calls).toEqual(Array.from({ length: 51 }, (_, i) => i));
  });

  it('that the rank ends with an error throws it and closes the queue of commands', async () => {
    const { client } = await rankAt(async function* (): AsyncGenerator<RankEvent> {
      yield { kind: 'ready', epoch: 4 };
      throw new UlyssesError('LEASE_LOST', 'this rank holds no lease');
    });
    const commands = new AsyncQueue<TermedCommand>();
    const error = await caught(all(client.steps(commands)));
    expect(error).toMatchObject({ code: 'LEASE_LOST', message: 'this rank holds no lease' });
    expect(commands.closed).toBe(true);
  });

  it('ends the requests of the handler and aborts its signal when the caller leaves', async () => {
    const ended = new Deferred<unknown>();
    const { client } = await rankAt(async function* (commands, { signal }): AsyncGenerator<RankEvent> {
      const aborted = new Deferred();
      signal.addEventListener('abort', () => {
        aborted.resolve();
      });
      yield { kind: 'ready', epoch: 1 };
      await all(commands).catch(() => undefined);
      await aborted.promise;
      ended.resolve(signal.reason);
    });
    for await (const event of client.steps(new AsyncQueue<TermedCommand>()))
      if (event.kind === 'ready') break;
    expect(await ended.promise).toMatchObject({ code: 'CANCELLED' });
  });

  it('throws what the commands throw, and an encoding that is refused', async () => {
    const { client } = await rankAt(async function* (commands): AsyncGenerator<RankEvent> {
      await all(commands);
      yield { kind: 'ready', epoch: 1 };
    });
    const failing = async function* (): AsyncGenerator<TermedCommand> {
      yield { kind: 'commit', term: 0, step };
      throw new UlyssesError('OVERLOADED', 'too many');
    };
    expect(await caught(all(client.steps(failing())))).toMatchObject({ code: 'OVERLOADED' });
    const wrong = async function* (): AsyncGenerator<TermedCommand> {
      yield { kind: 'commit', term: 0, step: { ...step, attempt: -1 } };
    };
    expect(await caught(all(client.steps(wrong())))).toMatchObject({ code: 'SHAPE_MISMATCH' });
  });

  it('is PEER_LOST for the caller when the other side is cut off', async () => {
    const { server, client } = await rankAt(async function* (commands): AsyncGenerator<RankEvent> {
      yield { kind: 'ready', epoch: 1 };
      await all(commands);
    });
    const error = caught(
      (async () => {
        for await (const event of client.steps(new AsyncQueue<TermedCommand>())) {
          if (event.kind === 'ready') await server.close(0);
        }
      })(),
    );
    expect(await error).toMatchObject({ code: 'PEER_LOST', details: { address: server.address } });
  });
});

describe('a peer that is not there', () => {
  it('is PEER_LOST with its address when it refuses the connection', async () => {
    const { server, client } = await rendezvousAt({ leave: async () => ({}) });
    await client.leave({ member: 'm' });
    await server.close(0);
    const error = await caught(client.leave({ member: 'm' }));
    expect(error.code).toBe('PEER_LOST');
    expect(error.message).toContain(server.address);
  });

  it('is PEER_LOST when its name is unknown', async () => {
    const client = connectRank('no-such-host.invalid:1', { insecure: true });
    closers.push(client);
    const error = await caught(client.getRankStatus({}));
    expect(error.code).toBe('PEER_LOST');
    expect(error.message).toContain('no-such-host.invalid:1');
  });

  it('is PEER_LOST when it accepts the connection and never says a word', async () => {
    const silent = createServer();
    closers.push({ close: () => silent.close() });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const address = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const channel = new Channel(address, {}, 100);
    closers.push(channel);
    const call = unaryCall(channel, rendezvousMethods.leave)({ member: 'm' });
    expect(await caught(call)).toMatchObject({
      code: 'PEER_LOST',
      message: `no connection to ${address} within 100 ms`,
    });
    const hurried = unaryCall(channel, rendezvousMethods.leave)({ member: 'm' }, { deadlineMs: 20 });
    expect((await caught(hurried)).code).toBe('DEADLINE');
  });

  it('is found again by the next call after it came back', async () => {
    const { server, client } = await rendezvousAt({ leave: async () => ({}) });
    await client.leave({ member: 'm' });
    await server.close(0);
    await caught(client.leave({ member: 'm' }));
    const again = await serve({
      listen: server.address,
      services: [rendezvousService({ ...RENDEZVOUS, leave: async () => ({}) })],
    });
    closers.push(again);
    // Between attempts to connect calls fail at once.
    for (;;) {
      const failure = await client.leave({ member: 'm' }).then(
        () => null,
        (error: unknown) => error as UlyssesError,
      );
      if (failure === null) break;
      expect(failure.code).toBe('PEER_LOST');
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  it('is UNSUPPORTED when it serves another service', async () => {
    const { server } = await rendezvousAt({});
    const client = connectRank(server.address);
    closers.push(client);
    expect((await caught(client.getRankStatus({}))).code).toBe('UNSUPPORTED');
  });

  it.each(['', 'localhost', 'localhost:', ':80'])('is CONFIG when its address is %j', (address) => {
    expect(() => connectRank(address)).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });
});

describe('serving', () => {
  it('on a port that is taken is CONFIG and names the address', async () => {
    const { server } = await rendezvousAt({});
    const second = caught(serve({ listen: server.address, services: [] }));
    expect(await second).toMatchObject({ code: 'CONFIG', details: { field: 'listen' } });
    expect((await second).message).toContain(server.address);
  });

  it('lets a running call finish when it is closed with grace', async () => {
    const arrived = new Deferred();
    const answer = new Deferred();
    const { server, client } = await rendezvousAt({
      leave: async () => {
        arrived.resolve();
        await answer.promise;
        return {};
      },
    });
    const call = client.leave({ member: 'm' });
    await arrived.promise;
    const closed = server.close(30_000);
    answer.resolve();
    expect(await call).toEqual({});
    await closed;
  });

  it('ends when its signal aborts', async () => {
    const controller = new AbortController();
    const server = await serve({ listen: '127.0.0.1:0', services: [], signal: controller.signal });
    controller.abort();
    await server.close(0);
    const client = connectRank(server.address);
    closers.push(client);
    expect((await caught(client.getRankStatus({}))).code).toBe('PEER_LOST');
  });
});
