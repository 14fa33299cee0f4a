import type { Http2Server, IncomingHttpHeaders, ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Server } from '@grpc/grpc-js';
import { invariant } from '@ulysses/errors';
import { WatchedCall, type ConnectionLoad } from './watched-call.js';

export interface ClientLimits {
  /**
   * Longest that a client may take for TLS and what HTTP/2 begins with, for a message that it has begun, and to take what it is
   * sent.
   */
  readonly slowClientMs: number;
  /** Paths of calls whose clients send again and again, and may be silent in between. */
  readonly bidi: ReadonlySet<string>;
}

/** Most connections of one port. */
const CONNECTION_LIMIT = 8192;
/** Clients are looked at so often in the time that they have. */
const LOOKS = 4;
/** How many times that, a client may keep a connection without a call: one that computes between its steps does. */
const IDLE_TIMES = 10;

/** One on which HTTP/2 has begun. */
interface Connection extends ConnectionLoad {
  readonly session: ServerHttp2Session;
  /** Below TLS. */
  readonly socket: Socket;
  readonly calls: Set<WatchedCall>;
  idleSince: number;
}

/**
 * Ends clients of a bound server that are slow, half open or of no use; grpc-js itself ends only those that do not answer pings, and
 * has no deadline before HTTP/2 has begun nor for the rest of a message. A client that lives and says nothing between the
 * messages of a stream is a legitimate one. Returns how to stop looking.
 */
export function limitClients(server: Server, { slowClientMs, bidi }: ClientLimits): () => void {
  const connections = new Map<ServerHttp2Session, Connection>();
  const looking = setInterval(() => {
    const now = performance.now();
    for (const connection of connections.values()) {
      for (const call of connection.calls) call.look(now);
      if (connection.calls.size > 0 || now - connection.idleSince < IDLE_TIMES * slowClientMs) continue;
      connections.delete(connection.session);
      connection.session.close();
      // Node waits for the client to close its end too.
      endLater(connection.socket, slowClientMs);
    }
  }, slowClientMs / LOOKS);
  looking.unref();
  for (const http of httpServers(server)) {
    http.maxConnections = CONNECTION_LIMIT;
    expectPrefaces(http, slowClientMs, (session, socket) => {
      const idleSince = performance.now();
      connections.set(session, { session, socket, calls: new Set(), idleSince, heldBytes: 0 });
      session.once('close', () => connections.delete(session));
    });
    http.on('stream', (stream, headers: IncomingHttpHeaders) => {
      const connection = connections.get(stream.session as ServerHttp2Session);
      if (connection === undefined) return;
      const repeats = bidi.has(headers[':path'] ?? '');
      const call = new WatchedCall(stream, { slowMs: slowClientMs, repeats, load: connection });
      connection.calls.add(call);
      stream.once('close', () => {
        connection.calls.delete(call);
        connection.idleSince = performance.now();
        call.leave();
      });
    });
  }
  return () => {
    clearInterval(looking);
  };
}

/** grpc-js keeps them to itself, and offers no other way to what comes before a message. */
function httpServers(server: Server): readonly Http2Server[] {
  const servers: unknown = server['http2Servers'];
  invariant(servers instanceof Map && servers.size > 0, 'grpc-js has HTTP/2 servers once it is bound');
  return [...(servers as ReadonlyMap<Http2Server, unknown>).keys()];
}

/** The time runs from the connection to the client's first settings, TLS included. */
function expectPrefaces(
  http: Http2Server,
  withinMs: number,
  onSession: (session: ServerHttp2Session, socket: Socket) => void,
): void {
  // With TLS the socket of a session is another object than that of its connection, with the same peer.
  const begun = new Map<string, { readonly socket: Socket; readonly late: NodeJS.Timeout }>();
  // Before Node's own, which makes the session.
  http.prependListener('connection', (socket: Socket) => {
    const name = nameOf(socket);
    const late = endLater(socket, withinMs);
    begun.set(name, { socket, late });
    socket.once('close', () => {
      clearTimeout(late);
      if (begun.get(name)?.socket === socket) begun.delete(name);
    });
  });
  http.on('session', (session) => {
    const connection = begun.get(nameOf(session.socket));
    if (connection === undefined) {
      session.destroy();
      return;
    }
    session.once('remoteSettings', () => {
      clearTimeout(connection.late);
    });
    onSession(session, connection.socket);
  });
}

function endLater(socket: Socket, withinMs: number): NodeJS.Timeout {
  return setTimeout(() => socket.destroy(), withinMs).unref();
}

function nameOf({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress ?? ''} ${remotePort ?? ''}`;
}
