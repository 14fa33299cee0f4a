import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { cpuDevice } from '@ulysses/device';
import { ExchangePlane } from '@ulysses/exchange';
import type { CallContext, RankAddress, RankEvent, TermedCommand } from '@ulysses/rpc';
import { AsyncQueue, createLogger, Metrics } from '@ulysses/runtime';
import { afterEach, expect, it, vi } from 'vitest';
import { availableIsa } from './available-isa.js';
import { CoordinatorStream } from './coordinator-stream.js';
import { DeviceTurns } from './device-turns.js';
import { ForwardStore } from './forward-store.js';
import { countSteps } from './rank-metrics.js';
import { RankSteps } from './rank-steps.js';

const LISTEN = { listen: '127.0.0.1:0', sharedBytes: 0, onLinkLost: () => undefined };

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function planeOf(): Promise<ExchangePlane> {
  const plane = await ExchangePlane.open(LISTEN);
  closers.push(() => plane.close());
  return plane;
}

function streamOf(plane: ExchangePlane): CoordinatorStream {
  const logger = createLogger({ name: 'rank', level: 'error' });
  const limits = { budgetBytes: 1024, jobBudgetBytes: 1024, timeToLiveMs: 60_000 };
  const store = new ForwardStore({ ...limits, now: () => performance.now() });
  const onSeat = (): void => undefined;
  const stream = new CoordinatorStream({
    ...{ member: 'a', plane, store, logger, onSeat },
    onAskedToLeave: () => undefined,
  });
  const device = new DeviceTurns(cpuDevice({ threads: 1, isa: availableIsa(null) }));
  const counts = countSteps(new Metrics());
  stream.attach(
    new RankSteps({
      ...{ plane, device, store, logger, counts },
      onFinished: () => undefined,
      onFailed: () => undefined,
    }),
  );
  return stream;
}

/** Has the rank enter an epoch on a stream of its own, which lasts until the test ends. */
function enter(
  stream: CoordinatorStream,
  epoch: number,
  ranks: readonly RankAddress[],
): Promise<RankEvent[]> {
  const commands = new AsyncQueue<TermedCommand>();
  commands.push({ kind: 'enter-epoch', term: 1, epoch, ranks });
  const ended = new AbortController();
  closers.push(() => {
    ended.abort();
  });
  const context: CallContext = { signal: ended.signal, deadlineMs: null, peer: 'coordinator' };
  const events = stream.serve(commands, context)[Symbol.asyncIterator]();
  return events.next().then(({ value }) => (value === undefined ? [] : [value as RankEvent]));
}

/** A way to `address` that takes connections at once, and lets them through when it is opened. */
async function gateTo(address: string): Promise<{ address: string; server: Server; open(): void }> {
  const waiting: Socket[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    waiting.push(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    for (const socket of waiting) socket.destroy();
    server.close();
  });
  const [host, port] = address.split(':');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    server,
    open: () => {
      for (const socket of waiting) {
        const through = connect(Number(port), host);
        through.on('error', () => undefined);
        socket.pipe(through).pipe(socket);
      }
    },
  };
}

it('an epoch that a stream was entering when a newer one began takes no seat from the newer one', async () => {
  const [plane, peer] = await Promise.all([planeOf(), planeOf()]);
  const dialled = vi.spyOn(plane, 'connectRank');
  const gate = await gateTo(peer.address!);
  const stream = streamOf(plane);
  const own = { rank: 0, member: 'a', controlAddress: 'a:1', tensorAddress: plane.address! };
  const other = { rank: 1, member: 'b', controlAddress: 'b:1', tensorAddress: gate.address };

  const reached = once(gate.server, 'connection');
  const first = enter(stream, 1, [own, other]);
  await reached;
  expect(await enter(stream, 2, [own])).toEqual([{ kind: 'ready', epoch: 2 }]);
  expect(await first).toEqual([]);

  gate.open();
  await dialled.mock.results[0]!.value;
  await new Promise(setImmediate);
  expect(stream.seat?.epoch).toBe(2);
});
