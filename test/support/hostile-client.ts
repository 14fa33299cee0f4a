import type { EventEmitter } from 'node:events';
import { connect as connectHttp2, constants, type ClientHttp2Session } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { frame } from './raw-grpc.js';
import { encodeFields, field } from './wire-fields.js';

/** What a hostile client is sent into: a call of one message, and bytes of that message. */
export interface Target {
  /** `host:port`. */
  readonly address: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A message after which an answer is due. */
  readonly message: Buffer;
  /** The largest message that is read. */
  readonly limitBytes: number;
}

export interface HostileClient {
  /** Resolves when the server has ended it, with the `grpc-status` if it was told one. */
  readonly ended: Promise<number | null>;
  /** Whether it can notice that: one that never reads does not. */
  readonly notices: boolean;
  stop(): void;
}

const DRIP_MS = 1000;
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const [DATA, HEADERS, SETTINGS] = [0, 1, 4];
const [END_STREAM, END_HEADERS] = [1, 4];
/** Calls of a client that never reads. */
const UNREAD_CALLS = 20;

/** Connects and says nothing. */
export function silentClient({ address }: Target): HostileClient {
  return endOf(socketTo(address));
}

/** Says what HTTP/2 begins with, one byte a second. */
export function slowPreface({ address }: Target): HostileClient {
  const socket = socketTo(address);
  return endOf(
    socket,
    drip(PREFACE.length, (i) => socket.write(PREFACE[i]!)),
  );
}

/** Sends half a message, and then one byte a second. */
export function slowMessage(target: Target): HostileClient {
  const { call, session } = openCall(target);
  // Of a field that nobody knows, and so nobody refuses.
  const message = frame(encodeFields([field(20, Buffer.alloc(10_000))]));
  call.write(message.subarray(0, 5_000));
  const timer = drip(5_000, (i) => call.write(message.subarray(5_000 + i, 5_001 + i)));
  return { ...statusOf(call), notices: true, stop: stopping(session, timer) };
}

/** Announces a message beyond the limit. */
export function hugeMessage(target: Target): HostileClient {
  const { call, session } = openCall(target);
  const announced = Buffer.alloc(5);
  announced.writeUInt32BE(target.limitBytes + 1, 1);
  call.write(announced);
  return { ...statusOf(call), notices: true, stop: stopping(session) };
}

/** Makes calls and never reads. */
export function neverReads({ address, path, headers, message }: Target): HostileClient {
  const socket = socketTo(address);
  socket.pause();
  socket.write(PREFACE);
  socket.write(http2Frame(SETTINGS, 0, 0, Buffer.alloc(0)));
  const grpc = { ':method': 'POST', ':scheme': 'http', ':path': path, 'content-type': 'application/grpc' };
  const block = Buffer.concat(Object.entries({ ...grpc, te: 'trailers', ...headers }).map(literal));
  for (let call = 0; call < UNREAD_CALLS; call++) {
    socket.write(http2Frame(HEADERS, END_HEADERS, 2 * call + 1, block));
    socket.write(http2Frame(DATA, END_STREAM, 2 * call + 1, frame(message)));
  }
  return { ...endOf(socket), notices: false };
}

/** Makes a call, lives, and does not allow a byte of the answer. */
export function takesNothing(target: Target): HostileClient {
  const { call, session } = openCall(target, 0);
  call.end(frame(target.message));
  return { ...statusOf(call), notices: true, stop: stopping(session) };
}

/** Lives and makes no call. */
export function makesNoCall({ address }: Target): HostileClient {
  const session = connectHttp2(`http://${address}`);
  session.on('error', () => undefined);
  return { ended: closed(session), notices: true, stop: stopping(session) };
}

function openCall({ address, path, headers }: Target, initialWindowSize = 65_535) {
  const session = connectHttp2(`http://${address}`, { settings: { initialWindowSize } });
  session.on('error', () => undefined);
  const grpc = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' };
  const call = session.request({ ...grpc, ':path': path, ...headers });
  call.on('error', () => undefined);
  return { session, call };
}

function statusOf(call: ReturnType<typeof openCall>['call']): Pick<HostileClient, 'ended'> {
  let status: number | null = null;
  const read = (headers: Record<string, unknown>): void => {
    if (headers['grpc-status'] !== undefined) status = Number(headers['grpc-status']);
  };
  call.on('response', read).on('trailers', read).resume();
  return {
    ended: new Promise((resolve) =>
      call.once('close', () => {
        resolve(status);
      }),
    ),
  };
}

function socketTo(address: string): Socket {
  const [host, port] = address.split(':');
  const socket = connect({ host: host!, port: Number(port) });
  socket.on('error', () => undefined);
  return socket;
}

function endOf(socket: Socket, timer?: NodeJS.Timeout): HostileClient {
  if (!socket.isPaused()) socket.resume();
  const stop = (): void => {
    clearInterval(timer);
    socket.destroy();
  };
  return { ended: closed(socket), notices: true, stop };
}

/** With an error or without. */
function closed(connection: EventEmitter): Promise<null> {
  return new Promise((resolve) => {
    connection.once('close', () => {
      resolve(null);
    });
  });
}

function stopping(session: ClientHttp2Session, timer?: NodeJS.Timeout): () => void {
  return () => {
    clearInterval(timer);
    session.destroy(undefined, constants.NGHTTP2_CANCEL);
  };
}

/** Calls back once a second, so often. */
function drip(times: number, send: (i: number) => void): NodeJS.Timeout {
  let sent = 0;
  const timer = setInterval(() => {
    if (sent < times) send(sent++);
  }, DRIP_MS);
  return timer;
}

function http2Frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header as HPACK writes one that nobody is to remember; shorter than 127 bytes. */
function literal([name, value]: readonly [string, string]): Buffer {
  const text = (of: string): Buffer => Buffer.concat([Buffer.from([of.length]), Buffer.from(of)]);
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}
