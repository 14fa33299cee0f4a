/**
 * The closed table of failures: code -> gRPC status number and whether repeating the step can succeed.
 * A new row needs a reason; `docs/protocol.md` says whose move each one is.
 */
export const ERROR_TABLE = {
  SHAPE_MISMATCH: { status: 3, retryable: false },
  STEP_MISMATCH: { status: 9, retryable: false },
  PLAN_INVALID: { status: 9, retryable: false },
  STALE_EPOCH: { status: 10, retryable: true },
  PEER_LOST: { status: 14, retryable: true },
  LEASE_LOST: { status: 14, retryable: true },
  DEADLINE: { status: 4, retryable: false },
  CANCELLED: { status: 1, retryable: false },
  UNAUTHENTICATED: { status: 16, retryable: false },
  FORBIDDEN: { status: 7, retryable: false },
  UNSUPPORTED: { status: 12, retryable: false },
  HANDLE_GONE: { status: 5, retryable: true },
  OVERLOADED: { status: 8, retryable: true },
  CONFIG: { status: 9, retryable: false },
  INVARIANT: { status: 13, retryable: false },
} as const satisfies Record<string, { status: number; retryable: boolean }>;

export type ErrorCode = keyof typeof ERROR_TABLE;

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERROR_TABLE, text);
}
