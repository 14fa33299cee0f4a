import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { UlyssesError } from '@ulysses/errors';
import { linkSignals, orAborted } from '@ulysses/runtime';
import { cancelled, type CallLimits, type Channel } from './channel.js';
import { readMessages, writeMessage } from './message-stream.js';
import type { Call, CallOptions, Method } from './method.js';
import { statusToError } from './status.js';

// Client side of the three kinds of call. As on the server, grpc-js sees bytes only.

const asIs = (bytes: Buffer): Buffer => bytes;

export function unaryCall<Request, Response>(
  channel: Channel,
  method: Method<'unary', Request, Response>,
): Call<Method<'unary', Request, Response>> {
  return async (request: Request, options: CallOptions = {}) => {
    const bytes = method.request.encode(request);
    const limits = channel.limits(options);
    try {
      await channel.connected(limits);
      return method.response.decode(await unaryBytes(channel, method.path, bytes, limits));
    } catch (thrown) {
      throw callError(thrown, channel, method.path, limits);
    } finally {
      limits.release();
    }
  };
}

function unaryBytes(channel: Channel, path: string, bytes: Buffer, limits: CallLimits): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const call = channel.client.makeUnaryRequest(
      path,
      asIs,
      asIs,
      bytes,
      new Metadata(),
      limits.grpc,
      (failure, answer) => {
        limits.signal.removeEventListener('abort', cancel);
        if (failure === null && answer !== undefined) resolve(answer);
        else
          reject(failure ?? new UlyssesError('PEER_LOST', `${path} at ${channel.address} answered nothing`));
      },
    );
    const cancel = (): void => {
      call.cancel();
    };
    limits.signal.addEventListener('abort', cancel);
    // It may have fired while the connection was looked at; nothing tells a listener that comes later.
    if (limits.signal.aborted) cancel();
  });
}

export function serverStreamCall<Request, Response>(
  channel: Channel,
  method: Method<'server-stream', Request, Response>,
): Call<Method<'server-stream', Request, Response>> {
  return async function* (request: Request, options: CallOptions = {}) {
    const bytes = method.request.encode(request);
    const limits = channel.limits(options);
    let cancel = (): void => undefined;
    try {
      await channel.connected(limits);
      const { client } = channel;
      const call = client.makeServerStreamRequest(
        method.path,
        asIs,
        asIs,
        bytes,
        new Metadata(),
        limits.grpc,
      );
      cancel = () => {
        call.cancel();
      };
      for await (const response of readMessages(call, limits.signal)) yield method.response.decode(response);
    } catch (thrown) {
      throw callError(thrown, channel, method.path, limits);
    } finally {
      cancel();
      limits.release();
    }
  };
}

export function bidiCall<Request, Response>(
  channel: Channel,
  method: Method<'bidi', Request, Response>,
): Call<Method<'bidi', Request, Response>> {
  return async function* (requests: AsyncIterable<Request>, options: CallOptions = {}) {
    const limits = channel.limits(options);
    // Aborts when the call ends for whatever reason: both directions stop together.
    const over = new AbortController();
    const either = linkSignals([limits.signal, over.signal]);
    let cancel = (): void => undefined;
    try {
      await channel.connected(limits);
      const call = channel.client.makeBidiStreamRequest(method.path, asIs, asIs, new Metadata(), limits.grpc);
      cancel = () => {
        call.cancel();
      };
      sendAll(requests, either.signal, (request) => {
        return writeMessage(call, method.request.encode(request), either.signal);
      }).then(
        () => {
          call.end();
        },
        (failure: unknown) => {
          over.abort(failure);
        },
      );
      for await (const response of readMessages(call, either.signal)) yield method.response.decode(response);
    } catch (thrown) {
      throw callError(thrown, channel, method.path, limits);
    } finally {
      over.abort(new UlyssesError('CANCELLED', `${method.path} has ended`));
      cancel();
      either.release();
      limits.release();
    }
  };
}

/** Sends until `requests` ends. When `signal` aborts, `requests` is told to stop, without waiting for it. */
async function sendAll<Request>(
  requests: AsyncIterable<Request>,
  signal: AbortSignal,
  send: (request: Request) => Promise<void>,
): Promise<void> {
  const iterator = requests[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await orAborted(iterator.next(), signal);
      if (next.done === true) return;
      await send(next.value);
    }
  } catch (thrown) {
    iterator.return?.().catch(() => undefined);
    throw thrown;
  }
}

/** What ended a call, as an error of the table: our own cancel first, then what was thrown or answered. */
function callError(thrown: unknown, channel: Channel, path: string, limits: CallLimits): UlyssesError {
  if (limits.signal.aborted) return cancelled(limits.signal);
  if (thrown instanceof UlyssesError) return thrown;
  if (isServiceError(thrown)) {
    return statusToError(thrown, { address: channel.address, path, deadlineMs: limits.deadlineMs });
  }
  return new UlyssesError('INVARIANT', `${path} at ${channel.address} failed: ${String(thrown)}`, {}, thrown);
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return (
    thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'number' && 'metadata' in thrown
  );
}
