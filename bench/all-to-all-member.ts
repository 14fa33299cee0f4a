import { join } from 'node:path';
import {
  Region,
  TensorPlane,
  type PlaneEvent,
  type SegmentPlace,
  type StepKey,
  type Transport,
} from '@ulysses/native';
import { sliceBytes } from './all-to-all-slices.js';
import { requireParent } from './read-command-line.js';

// One process of the all-to-all: `all-to-all.ts` starts it and says what to do over the IPC channel.

export type Command =
  | { readonly kind: 'connect'; readonly addresses: readonly string[] }
  /** Reserve the memory of one repeat: payload moves only when everyone has. */
  | { readonly kind: 'prepare'; readonly call: number }
  | { readonly kind: 'go'; readonly call: number }
  | { readonly kind: 'cpu' };

export type Answer =
  | { readonly kind: 'listening'; readonly address: string }
  | { readonly kind: 'done' }
  | { readonly kind: 'cpu'; readonly seconds: number };

requireParent('npm run bench:exchange');
const [index = 0, members = 0, mib = 0] = process.argv.slice(2, 5).map(Number);
const transport = process.argv[5] as Transport;
const allocate = (bytes: number): Region =>
  process.argv[6] === 'shared' ? Region.allocateShared(bytes) : Region.allocate(bytes);
/** A folder of scripts/test-certificates.mjs, or nothing for plaintext. */
const certificates = process.argv[7] ?? '';
const pem = (what: string): string => join(certificates, 'member', `${what}.pem`);
const others = Array.from({ length: members - 1 }, (_, k) => (index + k + 1) % members);
const bytesTo = (destination: number): number => sliceBytes(index, destination, members, mib);
const bytesFrom = (source: number): number => sliceBytes(source, index, members, mib);

const waiting = { events: 0, done: (): void => undefined };
const plane = await TensorPlane.open({
  listen: '127.0.0.1:0',
  transport,
  tls: certificates === '' ? null : { cert: pem('cert'), key: pem('key'), ca: pem('ca') },
  onEvent: (event: PlaneEvent) => {
    if (event.kind === 'link-lost' || event.kind === 'failed') throw new Error(JSON.stringify(event));
    if (event.kind !== 'granule' && --waiting.events === 0) waiting.done();
  },
});

const sent = allocate(offset(bytesTo, members));
// So that every page is there.
sent.bytes.fill(index + 1);
const received = Region.allocate(offset(bytesFrom, members));
received.bytes.fill(0);

function offset(bytesOf: (member: number) => number, before: number): number {
  let bytes = 0;
  for (let member = 0; member < before; member++) bytes += bytesOf(member);
  return bytes;
}

function slice(region: Region, bytesOf: (member: number) => number, member: number): SegmentPlace {
  const bytes = bytesOf(member);
  const offsetBytes = offset(bytesOf, member);
  return { region, offsetBytes, rows: 1, rowBytes: bytes, rowStrideBytes: bytes, granule: 0 };
}

function keyOf(call: number): StepKey {
  return { job: 'bench', session: 'all-to-all', call, pass: 'forward', attempt: 0 };
}

/** The first and last four bytes of every slice say whose it is and of which call: those of an earlier one are not right. */
const STAMP_BYTES = 4;

function stampOf(source: number, call: number): number {
  return call * members + source;
}

function stampsOf(region: Region, { offsetBytes, rowBytes }: SegmentPlace): [DataView, DataView] {
  const { buffer, byteOffset } = region.bytes;
  const first = byteOffset + offsetBytes;
  const last = first + rowBytes - STAMP_BYTES;
  return [new DataView(buffer, first, STAMP_BYTES), new DataView(buffer, last, STAMP_BYTES)];
}

function prepare(call: number): void {
  for (let member = 0; member < members; member++) {
    for (const stamp of stampsOf(sent, slice(sent, bytesTo, member)))
      stamp.setUint32(0, stampOf(index, call));
  }
  waiting.events = 2;
  plane.registerStep({
    key: keyOf(call),
    epoch: 1,
    self: { role: 'rank', index },
    receives: others.map((member) => ({
      source: { role: 'rank', index: member },
      tensor: 'q',
      segments: [slice(received, bytesFrom, member)],
    })),
    routes: others.map((member) => ({ destination: { role: 'rank', index: member }, link: `to ${member}` })),
    relayBytes: 0,
    sendBytes: others.reduce((sum, member) => sum + bytesTo(member), 0),
  });
}

async function exchange(call: number): Promise<void> {
  const done = new Promise<void>((resolve) => (waiting.done = resolve));
  for (const member of others) {
    const destination = { role: 'rank', index: member } as const;
    plane.send(keyOf(call), destination, 'q', 0, [slice(sent, bytesTo, member)]);
  }
  // The own slice: a whole all-to-all has it too.
  const own = slice(sent, bytesTo, index);
  const at = slice(received, bytesFrom, index).offsetBytes;
  received.bytes.set(sent.bytes.subarray(own.offsetBytes, own.offsetBytes + own.rowBytes), at);
  await done;
  plane.closeStep(keyOf(call));
  check(call);
}

/** What came is what was sent for this call, on every member: a fast exchange of the wrong bytes is none. */
function check(call: number): void {
  for (let member = 0; member < members; member++) {
    for (const stamp of stampsOf(received, slice(received, bytesFrom, member))) {
      const [actual, expected] = [stamp.getUint32(0), stampOf(member, call)];
      if (actual !== expected) {
        throw new Error(`call ${call}: bytes of member ${member} say ${actual}, not ${expected}`);
      }
    }
  }
}

async function obey(command: Command): Promise<Answer> {
  switch (command.kind) {
    case 'connect':
      await Promise.all(
        others.map((member) =>
          plane.connectRank(`to ${member}`, command.addresses[member]!, `rank/${index}/bench`),
        ),
      );
      return { kind: 'done' };
    case 'prepare':
      prepare(command.call);
      return { kind: 'done' };
    case 'go':
      await exchange(command.call);
      return { kind: 'done' };
    case 'cpu': {
      const { user, system } = process.cpuUsage();
      return { kind: 'cpu', seconds: (user + system) / 1e6 };
    }
  }
}

process.on('message', (command: Command) => {
  void obey(command).then((answer) => process.send!(answer));
});
process.on('disconnect', () => process.exit(0));
process.send!({ kind: 'listening', address: plane.address ?? '' } satisfies Answer);
