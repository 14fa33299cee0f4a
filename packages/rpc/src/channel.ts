import { Client, connectivityState, type CallOptions as GrpcCallOptions } from '@grpc/grpc-js';
import { UlyssesError, fieldError } from '@ulysses/errors';
import { linkSignals, requirePrivate, type ConnectionOptions, type ScopedSignal } from '@ulysses/runtime';
import { Certificates, channelCredentials } from './certificates.js';
import { silenceGrpcLog } from './grpc-log.js';
import { keepaliveOptions } from './keepalive.js';
import { MAX_MESSAGE_BYTES } from './load-proto.js';
import type { CallOptions } from './method.js';
import { tlsRefusal } from './tls-refusal.js';

/** Longest that one attempt to connect may take: grpc-js has no limit of its own. */
const CONNECT_TIMEOUT_MS = 5000;
/** Longest delay that a Node timer can hold. */
const MAX_DEADLINE_MS = 2 ** 31 - 1;

/** Longest pause between two attempts to connect, but for a fifth of jitter. */
const MAX_BACKOFF_MS = 1000;

const OPTIONS = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  // A peer that is gone without closing its connection is noticed between steps too.
  'grpc.keepalive_permit_without_calls': 1,
  // A restarted peer is found again soon.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': MAX_BACKOFF_MS,
  // Repeating is the caller's decision: it knows the attempt.
  'grpc.enable_retries': 0,
  // No DNS TXT look-ups, no proxy picked up from the environment, no connection shared with another client.
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_http_proxy': 0,
  'grpc.use_local_subchannel_pool': 1,
};

/** One call's limits; its signal is the caller's or the end of the connection. Release it when the call has ended. */
export interface CallLimits extends ScopedSignal {
  readonly deadlineMs: number | null;
  readonly grpc: GrpcCallOptions;
}

/**
 * One connection, made on the first call and again after it was lost.
 *
 * C1: a call never waits for a connection longer than `connectTimeoutMs`.
 * C2: `close` ends running calls with CANCELLED.
 * C3: certificates are those of the files when the connection is made.
 */
export class Channel {
  readonly address: string;
  readonly client: Client;
  readonly #connectTimeoutMs: number;
  readonly #certificates: Certificates | null;
  readonly #closed = new AbortController();

  /** Throws CONFIG when `address` is not `host:port`, is not to be dialled in plaintext, or a file cannot be used. */
  constructor(address: string, options: ConnectionOptions = {}, connectTimeoutMs = CONNECT_TIMEOUT_MS) {
    const { tls = null, silentPeerMs } = options;
    if (!/^.+:\d{1,5}$/.test(address)) throw fieldError('CONFIG', 'address', address, 'host:port');
    requirePrivate('address', address, options);
    silenceGrpcLog();
    this.address = address;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#certificates = tls === null ? null : new Certificates(tls);
    const { credentials, options: names } = channelCredentials(this.#certificates, address);
    this.client = new Client(address, credentials, {
      ...OPTIONS,
      ...keepaliveOptions(silentPeerMs),
      ...names,
    });
  }

  /** Checks the options of one call; throws if it is cancelled already. */
  limits({ signal, deadlineMs }: CallOptions): CallLimits {
    if (deadlineMs !== undefined && !(deadlineMs >= 0 && deadlineMs <= MAX_DEADLINE_MS)) {
      throw fieldError('SHAPE_MISMATCH', 'deadlineMs', deadlineMs, `0 to ${MAX_DEADLINE_MS} ms`);
    }
    const linked = linkSignals([signal, this.#closed.signal]);
    if (linked.signal.aborted) {
      linked.release();
      throw cancelled(linked.signal);
    }
    return {
      ...linked,
      deadlineMs: deadlineMs ?? null,
      grpc: deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
    };
  }

  /**
   * Resolves when a call can start or will fail by itself. grpc-js fails a call at once when the last attempt to
   * connect failed, and lets it wait for ever while an attempt is under way (C1). Throws UNAUTHENTICATED when certificates are
   * why there is no connection.
   */
  async connected({ signal, grpc }: CallLimits): Promise<void> {
    const timeoutAt = Date.now() + this.#connectTimeoutMs;
    const deadlineAt = Number(grpc.deadline ?? Infinity);
    const channel = this.client.getChannel();
    if (channel.getConnectivityState(false) !== connectivityState.READY) this.#certificates?.refresh();
    for (;;) {
      if (signal.aborted) throw cancelled(signal);
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.TRANSIENT_FAILURE) {
        const refusal = await tlsRefusal(this.address, this.#certificates);
        if (refusal !== null) throw refusal;
      }
      if (state !== connectivityState.IDLE && state !== connectivityState.CONNECTING) return;
      // Past the call's own deadline the call reports it.
      if (Date.now() >= deadlineAt) return;
      if (Date.now() >= timeoutAt) {
        throw new UlyssesError(
          'PEER_LOST',
          `no connection to ${this.address} within ${this.#connectTimeoutMs} ms`,
          { address: this.address },
        );
      }
      await new Promise<void>((resolve) => {
        const done = (): void => {
          signal.removeEventListener('abort', done);
          resolve();
        };
        signal.addEventListener('abort', done);
        channel.watchConnectivityState(state, Math.min(timeoutAt, deadlineAt), done);
      });
    }
  }

  close(): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(new UlyssesError('CANCELLED', `the connection to ${this.address} was closed here`));
    const channel = this.client.getChannel();
    if (channel.getConnectivityState(false) !== connectivityState.TRANSIENT_FAILURE) {
      this.client.close();
      return;
    }
    // A client of grpc-js 1.14 that is closed between two attempts to connect makes the next one all the same, and nobody
    // would ever end that connection. So it is closed after that attempt.
    const end = (): void => {
      clearTimeout(timer);
      this.client.close();
    };
    const timer = setTimeout(end, 2 * MAX_BACKOFF_MS).unref();
    channel.watchConnectivityState(connectivityState.TRANSIENT_FAILURE, Infinity, (error) => {
      // Not from inside the balancer's own update, after which it would take the connection up again.
      if (error === undefined) setImmediate(end);
    });
  }
}

/** What a call that `signal` ended throws: the reason if it is an error of ours. */
export function cancelled(signal: AbortSignal): UlyssesError {
  const reason: unknown = signal.reason;
  if (reason instanceof UlyssesError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new UlyssesError('DEADLINE', 'the signal of the call timed out', {}, reason);
  }
  return new UlyssesError('CANCELLED', 'the call was cancelled', {}, reason);
}
