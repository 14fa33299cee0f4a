import type { EventEmitter } from 'node:events';
import type {
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
  UntypedHandleCall,
  sendUnaryData,
} from '@grpc/grpc-js';
import { UlyssesError } from '@ulysses/errors';
import { readMessages, writeMessage } from './message-stream.js';
import type { CallContext, Handler, Method } from './method.js';
import { errorToStatus } from './status.js';

// Server side of the three kinds of call. grpc-js sees bytes only: encoding and decoding happen here, so that what
// they refuse reaches the caller as an error of the table.

type Bytes = Buffer;
type Streaming = ServerWritableStream<Bytes, Bytes> | ServerDuplexStream<Bytes, Bytes>;

export function answerUnary<Request, Response>(
  method: Method<'unary', Request, Response>,
  handler: Handler<Method<'unary', Request, Response>>,
): UntypedHandleCall {
  return (call: ServerUnaryCall<Bytes, Bytes>, callback: sendUnaryData<Bytes>) => {
    const context = callContext(call, method.path);
    const answer = async (): Promise<Bytes> =>
      method.response.encode(await handler(method.request.decode(call.request), context));
    answer().then(
      (response) => {
        callback(null, response);
      },
      (thrown: unknown) => {
        callback(errorToStatus(thrown));
      },
    );
  };
}

export function answerServerStream<Request, Response>(
  method: Method<'server-stream', Request, Response>,
  handler: Handler<Method<'server-stream', Request, Response>>,
): UntypedHandleCall {
  return (call: ServerWritableStream<Bytes, Bytes>) => {
    const context = callContext(call, method.path);
    void stream(call, context.signal, async () => {
      for await (const response of handler(method.request.decode(call.request), context)) {
        await writeMessage(call, method.response.encode(response), context.signal);
      }
    });
  };
}

export function answerBidi<Request, Response>(
  method: Method<'bidi', Request, Response>,
  handler: Handler<Method<'bidi', Request, Response>>,
): UntypedHandleCall {
  return (call: ServerDuplexStream<Bytes, Bytes>) => {
    const context = callContext(call, method.path);
    const requests = async function* (): AsyncGenerator<Request, void, undefined> {
      for await (const bytes of readMessages(call, context.signal)) yield method.request.decode(bytes);
    };
    void stream(call, context.signal, async () => {
      for await (const response of handler(requests(), context)) {
        await writeMessage(call, method.response.encode(response), context.signal);
      }
    });
  };
}

/** Runs `send` and ends the call with its outcome, unless the caller is gone already. */
async function stream(call: Streaming, signal: AbortSignal, send: () => Promise<void>): Promise<void> {
  try {
    await send();
    call.end();
  } catch (thrown) {
    if (!signal.aborted) call.emit('error', errorToStatus(thrown));
  }
}

/** What the three kinds of call have in common. */
interface AnyCall extends EventEmitter {
  getDeadline(): Date | number;
  getPeer(): string;
}

function callContext(call: AnyCall, path: string): CallContext {
  const deadlineAt = Number(call.getDeadline());
  const peer = call.getPeer();
  const controller = new AbortController();
  call.on('cancelled', () => {
    const error =
      Date.now() >= deadlineAt
        ? new UlyssesError('DEADLINE', `the deadline of ${path} passed`)
        : new UlyssesError('CANCELLED', `${path} was ended by its caller at ${peer}`);
    controller.abort(error);
  });
  return {
    signal: controller.signal,
    deadlineMs: Number.isFinite(deadlineAt) ? Math.max(0, deadlineAt - Date.now()) : null,
    peer,
  };
}
