import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import {
  Region,
  TensorPlane,
  type Party,
  type PlaneEvent,
  type RowsToSend,
  type SegmentPlace,
  type StepKey,
} from './index.js';

const KEY: StepKey = { job: 'job', session: 'session', call: 3, pass: 'backward', attempt: 1 };
const RANK0: Party = { role: 'rank', index: 0 };
const RANK1: Party = { role: 'rank', index: 1 };
const OWNER: Party = { role: 'owner', index: 0 };
const OWNER_LINK = 'owner/0/job/session';
const NOTHING = { key: KEY, epoch: 7, receives: [], routes: [], relayBytes: 0, sendBytes: 0 };

/** A plane, and what it reported. */
class Peer {
  readonly events: PlaneEvent[] = [];
  #waiting: (() => void)[] = [];

  private constructor(readonly plane: TensorPlane) {}

  static async open(listen: string | null = '127.0.0.1:0'): Promise<Peer> {
    const plane = await TensorPlane.open({
      listen,
      onEvent: (event) => {
        peer.events.push(event);
        for (const wake of peer.#waiting.splice(0)) wake();
      },
    });
    const peer = new Peer(plane);
    opened.push(peer);
    return peer;
  }

  /** Waits for an event of this kind; the test's own deadline ends it otherwise. */
  async until(kind: PlaneEvent['kind']): Promise<PlaneEvent> {
    for (;;) {
      const event = this.events.find((candidate) => candidate.kind === kind);
      if (event !== undefined) return event;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}

const opened: Peer[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map(({ plane }) => plane.close()));
});

/** `count` segments of 5 rows of 12 bytes in a region of their own, with gaps; granules in pairs. */
function places(count: number, rowStrideBytes = 16) {
  const region = Region.allocate(count * 5 * rowStrideBytes);
  const segments = Array.from({ length: count }, (_, i): SegmentPlace => ({
    region,
    offsetBytes: i * 5 * rowStrideBytes,
    rows: 5,
    rowBytes: 12,
    rowStrideBytes,
    granule: i >> 1,
  }));
  return { region, segments, bytes: count * 5 * 12 };
}

/** Fills the rows of every segment, and says what they are. */
function rowsOf({ region, segments }: ReturnType<typeof places>): number[][] {
  return segments.flatMap(({ offsetBytes, rows, rowBytes, rowStrideBytes }) =>
    Array.from({ length: rows }, (_, row) => {
      const at = offsetBytes + row * rowStrideBytes;
      return [...region.bytes.subarray(at, at + rowBytes)];
    }),
  );
}

test('rows sent from one plane are placed by another, and acknowledged', async () => {
  const [sender, receiver] = [await Peer.open(null), await Peer.open()];
  await sender.plane.connectRank('to-1', receiver.plane.address!, 'rank/0/member');
  const [from, to] = [places(5), places(5, 32)];
  from.region.bytes.forEach((_, i, bytes) => (bytes[i] = i * 7));
  receiver.plane.registerStep({
    ...NOTHING,
    self: RANK1,
    receives: [{ source: RANK0, tensor: 'dq', segments: to.segments }],
  });
  sender.plane.registerStep({
    ...NOTHING,
    self: RANK0,
    routes: [{ destination: RANK1, link: 'to-1' }],
    sendBytes: from.bytes,
  });
  sender.plane.send(KEY, RANK1, 'dq', 0, from.segments.slice(0, 2));
  sender.plane.send(KEY, RANK1, 'dq', 2, from.segments.slice(2));
  await Promise.all([receiver.until('received'), sender.until('sent')]);
  expect(rowsOf(to)).toEqual(rowsOf(from));
  expect(receiver.events).toEqual([
    { kind: 'sent', key: KEY },
    { kind: 'granule', key: KEY, granule: 0 },
    { kind: 'granule', key: KEY, granule: 1 },
    { kind: 'granule', key: KEY, granule: 2 },
    { kind: 'received', key: KEY },
  ]);
  expect(sender.events).toEqual([
    { kind: 'received', key: KEY },
    { kind: 'sent', key: KEY },
  ]);
  expect(sender.plane.counters()).toMatchObject({
    sentBytes: from.bytes,
    receivedBytes: 0,
    steps: 1,
    links: 1,
  });
  expect(sender.plane.sinceFirstRowMs(KEY)).toBeNull();
  expect(receiver.plane.sinceFirstRowMs(KEY)).toBeGreaterThan(0);
  expect(sender.plane.closeStep(KEY)).toEqual({ bytesSent: from.bytes, bytesReceived: 0 });
  expect(receiver.plane.closeStep(KEY)).toEqual({ bytesSent: 0, bytesReceived: from.bytes });
  expect(receiver.plane.sinceFirstRowMs(KEY)).toBeNull();
  expect(receiver.plane.counters().steps).toBe(0);
});

test('a rank relays between an owner that nobody can dial and another rank, both ways', async () => {
  const [owner, relay, rank] = [await Peer.open(null), await Peer.open(), await Peer.open()];
  await owner.plane.connectOwner('relay', relay.plane.address!, OWNER_LINK);
  await relay.plane.connectRank('rank', rank.plane.address!, 'rank/0/a');
  await rank.plane.connectRank('relay', relay.plane.address!, 'rank/1/b');
  const [q, out] = [places(2), places(3)];
  const [qArrived, outArrived] = [places(2), places(3)];
  q.region.bytes.fill(3);
  out.region.bytes.fill(4);
  const toRank1 = { destination: RANK1, link: 'rank' };
  owner.plane.registerStep({
    ...NOTHING,
    self: OWNER,
    receives: [{ source: RANK1, tensor: 'out', segments: outArrived.segments }],
    routes: [{ destination: RANK1, link: 'relay' }],
    sendBytes: q.bytes,
  });
  relay.plane.registerStep({
    ...NOTHING,
    self: RANK0,
    routes: [toRank1, { destination: OWNER, link: OWNER_LINK }],
    relayBytes: q.bytes + out.bytes,
  });
  rank.plane.registerStep({
    ...NOTHING,
    self: RANK1,
    receives: [{ source: OWNER, tensor: 'q', segments: qArrived.segments }],
    routes: [{ destination: OWNER, link: 'relay' }],
    sendBytes: out.bytes,
  });
  owner.plane.send(KEY, RANK1, 'q', 0, q.segments);
  rank.plane.send(KEY, OWNER, 'out', 0, out.segments);
  await Promise.all([owner, rank].flatMap((peer) => [peer.until('received'), peer.until('sent')]));
  expect(rowsOf(qArrived)).toEqual(rowsOf(q));
  expect(rowsOf(outArrived)).toEqual(rowsOf(out));
  expect(await relay.until('relayed')).toEqual({ kind: 'relayed', key: KEY });
  expect(relay.plane.counters().relayedBytes).toBe(q.bytes + out.bytes);
});

test('a step whose link is not connected fails with PEER_LOST naming the peer', async () => {
  const peer = await Peer.open(null);
  const { segments, bytes } = places(1);
  peer.plane.registerStep({
    ...NOTHING,
    self: RANK0,
    routes: [{ destination: RANK1, link: 'nowhere' }],
    sendBytes: bytes,
  });
  peer.plane.send(KEY, RANK1, 'q', 0, segments);
  expect(await peer.until('failed')).toMatchObject({ key: KEY, code: 'PEER_LOST', peer: 'rank 1' });
});

test('the loss of a link is reported by name', async () => {
  const [dialler, listener] = [await Peer.open(null), await Peer.open()];
  await dialler.plane.connectRank('to-1', listener.plane.address!, 'rank/0/member');
  await listener.plane.close();
  expect(await dialler.until('link-lost')).toMatchObject({ link: 'to-1', reason: expect.any(String) });
});

test('connecting to a port where nobody listens is PEER_LOST', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  const peer = await Peer.open(null);
  const connecting = peer.plane.connectRank('to-1', `127.0.0.1:${port}`, 'rank/0/member', {
    deadlineMs: 5000,
  });
  await expect(connecting).rejects.toMatchObject({ name: 'UlyssesError', code: 'PEER_LOST' });
});

test('a peer that accepts but never answers costs the deadline, or a cancel, and no more', async () => {
  const server = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const peer = await Peer.open(null);
  const late = peer.plane.connectOwner('late', address, OWNER_LINK, { deadlineMs: 50 });
  await expect(late).rejects.toMatchObject({ code: 'DEADLINE' });
  const controller = new AbortController();
  const accepted = once(server, 'connection');
  const cancelled = peer.plane.connectRank('silent', address, 'rank/0/member', { signal: controller.signal });
  await accepted;
  controller.abort('enough');
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED', cause: 'enough' });
  const never = peer.plane.connectRank('silent', address, 'rank/0/member', { signal: AbortSignal.abort() });
  await expect(never).rejects.toMatchObject({ code: 'CANCELLED' });
  server.close();
});

test('an address that cannot be listened on is CONFIG', async () => {
  await expect(Peer.open('127.0.0.1:http')).rejects.toMatchObject({ code: 'CONFIG' });
});

test('bad registrations and sends are refused by name', async () => {
  const { plane } = await Peer.open(null);
  const { segments, bytes } = places(1);
  const [place] = segments;
  const receive = (change: Partial<SegmentPlace>) => [
    { source: RANK1, tensor: 'q' as const, segments: [{ ...place!, ...change }] },
  ];
  const good = { ...NOTHING, self: RANK0, routes: [{ destination: RANK1, link: 'to-1' }], sendBytes: bytes };
  for (const [change, named] of [
    [{ epoch: -1 }, 'epoch'],
    [{ sendBytes: 0.5 }, 'sendBytes'],
    [{ relayBytes: NaN }, 'relayBytes'],
    [{ key: { ...KEY, call: 2 ** 60 } }, 'key.call'],
    [{ key: { ...KEY, pass: 'sideways' as 'forward' } }, 'key.pass'],
    [{ self: { role: 'rank', index: -1 } as const }, 'self'],
    [{ receives: receive({ offsetBytes: -1 }) }, 'segments[0].offsetBytes'],
    [{ receives: receive({ granule: 2 ** 32 }) }, 'granule'],
    [{ receives: receive({ granuleEnds: [1, -1] }) }, 'segments[0].granuleEnds'],
  ] as const) {
    expect(() => {
      plane.registerStep({ ...good, ...change });
    }).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH', details: expect.objectContaining({ field: named }) }),
    );
  }
  for (const change of [
    { offsetBytes: 17 },
    { rows: 6 },
    { rowStrideBytes: 11 },
    { rowBytes: 2 ** 52 },
    { granuleEnds: [6] },
  ]) {
    expect(() => {
      plane.registerStep({ ...good, receives: receive(change) });
    }).toThrow(expect.objectContaining({ code: 'PLAN_INVALID' }));
  }
  plane.registerStep(good);
  expect(() => {
    plane.registerStep(good);
  }).toThrow(expect.objectContaining({ code: 'PLAN_INVALID' }));
  expect(() => {
    plane.send(KEY, RANK1, 'q', 0, [{ ...place!, offsetBytes: 17 }]);
  }).toThrow(expect.objectContaining({ code: 'PLAN_INVALID' }));
  for (const rows of [
    { begin: 0, end: 6 },
    { begin: 3, end: 2 },
  ]) {
    expect(() => {
      plane.sendRows(KEY, [{ destination: RANK1, tensor: 'q', number: 0, place: place!, rows }]);
    }).toThrow(expect.objectContaining({ code: 'PLAN_INVALID' }));
  }
  expect(() => {
    plane.send(KEY, RANK1, 'x' as 'q', 0, segments);
  }).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
});

test('rows of a segment may leave in parts, others between them, and its granules are told apart', async () => {
  const [sender, receiver] = [await Peer.open(null), await Peer.open()];
  await sender.plane.connectRank('to-1', receiver.plane.address!, 'rank/0/member');
  const [from, to] = [places(2), places(2, 32)];
  from.region.bytes.forEach((_, i, bytes) => (bytes[i] = i * 7));
  const cut = [
    { ...to.segments[0]!, granule: 3, granuleEnds: [2, 4] },
    { ...to.segments[1]!, granule: 9 },
  ];
  receiver.plane.registerStep({
    ...NOTHING,
    self: RANK1,
    receives: [{ source: RANK0, tensor: 'dq', segments: cut }],
  });
  const routes = [{ destination: RANK1, link: 'to-1' }];
  sender.plane.registerStep({ ...NOTHING, self: RANK0, routes, sendBytes: from.bytes });
  const rows = (number: number, begin: number, end: number): RowsToSend => {
    const place = from.segments[number]!;
    return { destination: RANK1, tensor: 'dq', number, place, rows: { begin, end } };
  };
  sender.plane.sendRows(KEY, [rows(0, 0, 3), rows(1, 0, 5), rows(0, 3, 3)]);
  expect(() => {
    sender.plane.sendRows(KEY, [rows(0, 3, 5), rows(0, 3, 6)]);
  }).toThrow(expect.objectContaining({ code: 'PLAN_INVALID' }));
  sender.plane.sendRows(KEY, [rows(0, 3, 5)]);
  await Promise.all([receiver.until('received'), sender.until('sent')]);
  expect(rowsOf(to)).toEqual(rowsOf(from));
  const granules = receiver.events.flatMap((event) => (event.kind === 'granule' ? [event.granule] : []));
  expect(granules).toEqual([3, 9, 4, 5]);
  expect(receiver.plane.closeStep(KEY).bytesReceived).toBe(from.bytes);
});

test('a link beyond loopback is CONFIG in plaintext', async () => {
  const peer = await Peer.open(null);
  await expect(peer.plane.connectOwner('a', '10.0.0.1:7102', 'owner/0/job/session')).rejects.toMatchObject({
    code: 'CONFIG',
    message: expect.stringContaining('10.0.0.1:7102: plaintext beyond loopback'),
  });
});

test('a closed plane says so, and reports nothing more', async () => {
  const peer = await Peer.open();
  peer.plane.registerStep({ ...NOTHING, self: RANK0 });
  await peer.plane.close();
  await peer.plane.close();
  expect(() => peer.plane.counters()).toThrow(expect.objectContaining({ code: 'CANCELLED' }));
  await expect(peer.plane.connectRank('a', '127.0.0.1:1', 'rank/0/a')).rejects.toMatchObject({
    code: 'CANCELLED',
  });
  expect(peer.plane.address).toMatch(/^127\.0\.0\.1:\d+$/);
});
