import { Metadata, status as Status, type ServiceError } from '@grpc/grpc-js';
import { ERROR_TABLE, UlyssesError, toUlyssesError, type ErrorCode } from '@ulysses/errors';
import { cut, errorFromProto, errorToProto } from './convert/error.js';
import { wireCodec } from './load-proto.js';

/** Trailing metadata that carries an encoded ulysses.v1.Error. */
export const ERROR_METADATA = 'ulysses-error-bin';
const STATUS_CHARACTERS = 1000;
const errorCodec = wireCodec('Error');

/** Any thrown value as what grpc-js sends: the table's status, the message, and the whole error in the trailers. */
export function errorToStatus(thrown: unknown): ServiceError {
  const error = toUlyssesError(thrown);
  const metadata = new Metadata();
  metadata.set(ERROR_METADATA, errorCodec.encode(errorToProto(error)));
  const code: unknown = ERROR_TABLE[error.code].status;
  return Object.assign(new Error(error.message), {
    code: code as Status,
    details: cut(error.message, STATUS_CHARACTERS),
    metadata,
  });
}

/** Where a failed call went, for the message. */
export interface CallTarget {
  readonly address: string;
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly deadlineMs: number | null;
}

/** What a failed call means: the error in its trailers if the peer is one of ours, else what its status says. */
export function statusToError(failure: ServiceError, target: CallTarget): UlyssesError {
  const [encoded] = failure.metadata.get(ERROR_METADATA);
  if (Buffer.isBuffer(encoded)) return errorFromProto(errorCodec.decode(encoded), 'Error');
  const code = CODE_OF_PLAIN_STATUS[failure.code] ?? 'INVARIANT';
  const { address, path, deadlineMs } = target;
  const reason =
    code === 'DEADLINE'
      ? `no answer within ${deadlineMs ?? 'its'} ms`
      : `${Status[failure.code]}, ${failure.details || 'no details'}`;
  return new UlyssesError(
    code,
    `${path} at ${address} failed: ${reason}`,
    { address, method: path, grpcStatus: Status[failure.code] },
    failure,
  );
}

/**
 * Statuses that come without an error of ours: from grpc-js itself, a proxy or a stranger. A connection that ends in
 * the middle of a call shows as any of the five that mean PEER_LOST here.
 */
const CODE_OF_PLAIN_STATUS: Readonly<Partial<Record<Status, ErrorCode>>> = {
  [Status.CANCELLED]: 'PEER_LOST',
  [Status.UNKNOWN]: 'PEER_LOST',
  [Status.INTERNAL]: 'PEER_LOST',
  [Status.UNAVAILABLE]: 'PEER_LOST',
  [Status.DATA_LOSS]: 'PEER_LOST',
  [Status.DEADLINE_EXCEEDED]: 'DEADLINE',
  [Status.RESOURCE_EXHAUSTED]: 'OVERLOADED',
  [Status.UNIMPLEMENTED]: 'UNSUPPORTED',
  [Status.UNAUTHENTICATED]: 'UNAUTHENTICATED',
  [Status.PERMISSION_DENIED]: 'FORBIDDEN',
};
