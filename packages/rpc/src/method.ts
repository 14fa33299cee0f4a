/** What a handler knows about its call. */
export interface CallContext {
  /** Aborts with a UlyssesError when the caller cancels or disappears, or when the deadline passes. */
  readonly signal: AbortSignal;
  /** Time that was left when the call arrived; null: the caller set no deadline. */
  readonly deadlineMs: number | null;
  /** Network address of the caller. */
  readonly peer: string;
}

export interface CallOptions {
  /** Cancels the call; the other side's signal aborts. */
  readonly signal?: AbortSignal;
  /** Time that the whole call may take. Absent: no limit. */
  readonly deadlineMs?: number;
}

/** A message type: bytes on the wire, checked domain value in code. Both directions throw UlyssesError. */
export interface Codec<T> {
  readonly encode: (value: T) => Buffer;
  readonly decode: (bytes: Buffer) => T;
}

export type MethodKind = 'unary' | 'server-stream' | 'bidi';

/** One rpc. `path` is `/package.Service/Method`. */
export interface Method<Kind extends MethodKind, Request, Response> {
  readonly kind: Kind;
  readonly path: string;
  readonly request: Codec<Request>;
  readonly response: Codec<Response>;
}

/**
 * How a service answers one method. A thrown UlyssesError reaches the caller whole; anything else becomes INVARIANT.
 * A caller that leaves ends `requests`, with or without an error, and aborts `context.signal`.
 */
export type Handler<M> =
  M extends Method<'unary', infer Request, infer Response>
    ? (request: Request, context: CallContext) => Promise<Response>
    : M extends Method<'server-stream', infer Request, infer Response>
      ? (request: Request, context: CallContext) => AsyncIterable<Response>
      : M extends Method<'bidi', infer Request, infer Response>
        ? (requests: AsyncIterable<Request>, context: CallContext) => AsyncIterable<Response>
        : never;

/**
 * How a client calls one method. Streams start on the first `next()`; leaving the loop early cancels the call.
 * Failures are UlyssesErrors.
 */
export type Call<M> =
  M extends Method<'unary', infer Request, infer Response>
    ? (request: Request, options?: CallOptions) => Promise<Response>
    : M extends Method<'server-stream', infer Request, infer Response>
      ? (request: Request, options?: CallOptions) => AsyncGenerator<Response, void, undefined>
      : M extends Method<'bidi', infer Request, infer Response>
        ? (
            requests: AsyncIterable<Request>,
            options?: CallOptions,
          ) => AsyncGenerator<Response, void, undefined>
        : never;

export type Handlers<Methods> = { readonly [Name in keyof Methods]: Handler<Methods[Name]> };
export type Calls<Methods> = { readonly [Name in keyof Methods]: Call<Methods[Name]> };
