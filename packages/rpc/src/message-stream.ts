import type { Readable, Writable } from 'node:stream';

/**
 * Messages of a grpc-js stream. What was received before a failure is delivered before it is thrown. Ends with the
 * stream; throws the reason of `signal` when that aborts first, because a cancelled grpc-js stream may neither end nor fail.
 */
export async function* readMessages(
  stream: Readable,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const state: { ended: boolean; failure: Error | null; wake: () => void } = {
    ended: false,
    failure: null,
    wake: () => undefined,
  };
  const onReadable = (): void => {
    state.wake();
  };
  const onEnd = (): void => {
    state.ended = true;
    state.wake();
  };
  const onError = (error: Error): void => {
    state.failure ??= error;
    state.wake();
  };
  stream.on('readable', onReadable).on('end', onEnd).on('error', onError);
  signal.addEventListener('abort', onReadable);
  try {
    for (;;) {
      const message = stream.read() as Buffer | null;
      if (message !== null) {
        yield message;
        continue;
      }
      if (state.failure !== null) throw state.failure;
      signal.throwIfAborted();
      if (state.ended) return;
      await new Promise<void>((resolve) => {
        state.wake = resolve;
      });
    }
  } finally {
    // 'error' keeps its listener: without one a late error would end the process.
    stream.off('readable', onReadable).off('end', onEnd);
    signal.removeEventListener('abort', onReadable);
  }
}

/**
 * Writes one message and waits while the stream is full. Throws the reason of `signal` when that aborts: after a
 * cancel grpc-js never emits 'drain'.
 */
export async function writeMessage(stream: Writable, message: Buffer, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (stream.write(message)) return;
  await new Promise<void>((resolve, reject) => {
    const settle = (): void => {
      stream.off('drain', settle);
      signal.removeEventListener('abort', settle);
      if (signal.aborted) reject(signal.reason as Error);
      else resolve();
    };
    stream.on('drain', settle);
    signal.addEventListener('abort', settle);
  });
}
