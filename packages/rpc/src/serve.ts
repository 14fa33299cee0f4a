import { Server, type UntypedHandleCall } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { fieldError } from '@ulysses/errors';
import type { ConnectionOptions } from '@ulysses/runtime';
import { HealthImplementation } from 'grpc-health-check';
import { answerBidi, answerServerStream, answerUnary } from './answer-call.js';
import { limitClients } from './client-limits.js';
import { Certificates, serverCredentials } from './certificates.js';
import { silenceGrpcLog } from './grpc-log.js';
import { keepaliveOptions } from './keepalive.js';
import { MAX_MESSAGE_BYTES, PACKAGE, reflectedDefinition } from './load-proto.js';
import {
  coordinatorMethods,
  rankMethods,
  rendezvousMethods,
  type CoordinatorHandlers,
  type RankHandlers,
  type RendezvousHandlers,
} from './services.js';

/** A service and its handlers, ready for `serve`. Made by `coordinatorService`, `rankService`, `rendezvousService`. */
export interface BoundService {
  /** As in the proto, with the package. */
  readonly name: string;
  readonly methods: readonly BoundMethod[];
}

export interface BoundMethod {
  readonly kind: 'unary' | 'server-stream' | 'bidi';
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly answer: UntypedHandleCall;
}

export interface ServeOptions extends Omit<ConnectionOptions, 'insecure'> {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly services: readonly BoundService[];
  /** What health says at first; default true. */
  readonly serving?: boolean;
  /**
   * Longest that a client may take for its part of a handshake, for a message that it has begun, and to take what it is sent.
   * @default 30 s
   */
  readonly slowClientMs?: number;
  /** Closes the server without grace. */
  readonly signal?: AbortSignal;
}

export interface ControlServer {
  /** `host:port` that it listens on, with the real port. */
  readonly address: string;
  /** What the health service says of one service; '' is the whole process. */
  setServing(serviceName: string, serving: boolean): void;
  /**
   * Health says no, nothing new is accepted, running calls get `graceMs`, then they are cut off. A stream that lives
   * as long as its peers uses up the grace unless its handler ends it.
   */
  close(graceMs: number): Promise<void>;
}

/** How often certificates are looked at: new connections use those that changed. */
const REFRESH_MS = 1000;

const OPTIONS = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  // A step is a call of each of its owners, and there may be as many as ranks.
  'grpc.max_concurrent_streams': 4096,
};

/** Enough for the largest message over half a MiB a second. */
const SLOW_CLIENT_MS = 30_000;

export function coordinatorService(handlers: CoordinatorHandlers): BoundService {
  const { planStep, settleStep, release, watchMembership, getStatus, scale, drain } = coordinatorMethods;
  return {
    name: `${PACKAGE}.CoordinatorService`,
    methods: [
      { ...planStep, answer: answerServerStream(planStep, handlers.planStep) },
      { ...settleStep, answer: answerUnary(settleStep, handlers.settleStep) },
      { ...release, answer: answerUnary(release, handlers.release) },
      { ...watchMembership, answer: answerServerStream(watchMembership, handlers.watchMembership) },
      { ...getStatus, answer: answerUnary(getStatus, handlers.getStatus) },
      { ...scale, answer: answerUnary(scale, handlers.scale) },
      { ...drain, answer: answerUnary(drain, handlers.drain) },
    ],
  };
}

export function rankService(handlers: RankHandlers): BoundService {
  const { steps, getRankStatus } = rankMethods;
  return {
    name: `${PACKAGE}.RankService`,
    methods: [
      { ...steps, answer: answerBidi(steps, handlers.steps) },
      { ...getRankStatus, answer: answerUnary(getRankStatus, handlers.getRankStatus) },
    ],
  };
}

export function rendezvousService(handlers: RendezvousHandlers): BoundService {
  const { join, renew, leave, revoke } = rendezvousMethods;
  return {
    name: `${PACKAGE}.RendezvousService`,
    methods: [
      { ...join, answer: answerUnary(join, handlers.join) },
      { ...renew, answer: answerUnary(renew, handlers.renew) },
      { ...leave, answer: answerUnary(leave, handlers.leave) },
      { ...revoke, answer: answerUnary(revoke, handlers.revoke) },
    ],
  };
}

/**
 * Opens a control port: the given services, standard health and server reflection. Throws CONFIG when it cannot listen, or a
 * `tls` file cannot be used.
 */
export async function serve(options: ServeOptions): Promise<ControlServer> {
  const { listen, services, tls = null, silentPeerMs, serving = true, signal } = options;
  const { slowClientMs = SLOW_CLIENT_MS } = options;
  signal?.throwIfAborted();
  silenceGrpcLog();
  const certificates = tls === null ? null : new Certificates(tls);
  const server = new Server({ ...OPTIONS, ...keepaliveOptions(silentPeerMs) });
  for (const service of services) addService(server, service);
  const names = services.map(({ name }) => name);
  const health = addHealth(server, names, serving);
  const reflected = [...names, 'grpc.health.v1.Health'];
  new ReflectionService(reflectedDefinition(), { services: reflected }).addToServer(server);

  const port = await bind(server, listen, certificates);
  const bidi = services.flatMap(({ methods }) => methods.filter(({ kind }) => kind === 'bidi'));
  const stopLimits = limitClients(server, { slowClientMs, bidi: new Set(bidi.map(({ path }) => path)) });
  const refresh = setInterval(() => certificates?.refresh(), REFRESH_MS);
  refresh.unref();
  let closing: Promise<void> | null = null;
  const control: ControlServer = {
    address: listen.replace(/:\d+$/, `:${port}`),
    setServing: (name, isServing) => {
      health.setStatus(name, isServing ? 'SERVING' : 'NOT_SERVING');
    },
    close: (graceMs) => {
      clearInterval(refresh);
      stopLimits();
      for (const name of ['', ...names]) health.setStatus(name, 'NOT_SERVING');
      closing ??= shutDown(server, graceMs);
      return closing;
    },
  };
  if (signal?.aborted) await control.close(0);
  signal?.addEventListener('abort', () => void control.close(0), { once: true });
  return control;
}

function addService(server: Server, service: BoundService): void {
  const asIs = (bytes: Buffer): Buffer => bytes;
  const definition = service.methods.map(({ kind, path }) => ({
    path,
    requestStream: kind === 'bidi',
    responseStream: kind !== 'unary',
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  }));
  server.addService(
    Object.fromEntries(definition.map((method) => [method.path, method])),
    Object.fromEntries(service.methods.map(({ path, answer }) => [path, answer])),
  );
}

function addHealth(server: Server, names: readonly string[], serving: boolean): HealthImplementation {
  const first = serving ? 'SERVING' : 'NOT_SERVING';
  const health = new HealthImplementation(Object.fromEntries(['', ...names].map((name) => [name, first])));
  health.addToServer(server);
  return health;
}

function bind(server: Server, listen: string, certificates: Certificates | null): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(listen, serverCredentials(certificates), (error, port) => {
      if (error === null) resolve(port);
      else {
        server.forceShutdown();
        reject(fieldError('CONFIG', 'listen', listen, `a host:port that is free (${error.message})`));
      }
    });
  });
}

async function shutDown(server: Server, graceMs: number): Promise<void> {
  const timer = setTimeout(() => {
    server.forceShutdown();
  }, graceMs);
  await new Promise<void>((resolve) => {
    server.tryShutdown(() => {
      resolve();
    });
  });
  clearTimeout(timer);
}
