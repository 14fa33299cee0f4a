import { Server, ServerCredentials, type UntypedHandleCall } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { fieldError } from '@ulysses/errors';
import { HealthImplementation } from 'grpc-health-check';
import { answerBidi, answerServerStream, answerUnary } from './answer-call.js';
import { silenceGrpcLog } from './grpc-log.js';
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

export interface ServeOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly services: readonly BoundService[];
  /** What health says at first; default true. */
  readonly serving?: boolean;
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

// A peer that died without closing its connection is noticed after at most 20 s.
const OPTIONS = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 10_000,
};

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
 * Opens a control port: the given services, standard health and server reflection. Throws CONFIG when it cannot listen.
 */
export async function serve(options: ServeOptions): Promise<ControlServer> {
  const { listen, services, serving = true, signal } = options;
  signal?.throwIfAborted();
  silenceGrpcLog();
  const server = new Server(OPTIONS);
  for (const service of services) addService(server, service);
  const names = services.map(({ name }) => name);
  const health = addHealth(server, names, serving);
  const reflected = [...names, 'grpc.health.v1.Health'];
  new ReflectionService(reflectedDefinition(), { services: reflected }).addToServer(server);

  const port = await bind(server, listen);
  let closing: Promise<void> | null = null;
  const control: ControlServer = {
    address: listen.replace(/:\d+$/, `:${port}`),
    setServing: (name, isServing) => {
      health.setStatus(name, isServing ? 'SERVING' : 'NOT_SERVING');
    },
    close: (graceMs) => {
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

function bind(server: Server, listen: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(listen, ServerCredentials.createInsecure(), (error, port) => {
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
