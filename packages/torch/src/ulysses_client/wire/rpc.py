"""gRPC channels and what failed calls mean."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import grpc

from ..errors import (
    CancelledError,
    ConfigError,
    DeadlineError,
    ForbiddenError,
    InvariantError,
    OverloadedError,
    PeerLostError,
    UlyssesError,
    UnauthenticatedError,
    UnsupportedError,
    field_error,
)
from ..generated import tensor_pb2
from .connection import ConnectionOptions
from .convert import error_from_proto
from .slices import CHUNK_BYTES

ERROR_METADATA = "ulysses-error-bin"
PARTY_METADATA = "ulysses-party"

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # 16 KiB frames double the CPU time of large slices; windows hold several chunks.
    ("grpc.http2.max_frame_size", 2 * CHUNK_BYTES),
    ("grpc.http2.lookahead_bytes", 8 * CHUNK_BYTES),
    ("grpc.http2.write_buffer_size", 4 * CHUNK_BYTES),
    # A peer that is gone without closing its connection is noticed between steps, and while nothing is sent.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A restarted peer is found again soon; one attempt to connect takes at most 4 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 4000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Repeating is the caller's decision: it knows the attempt.
    ("grpc.enable_retries", 0),
    # No DNS TXT look-ups, no proxy from the environment, no connection shared with another client.
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]

# Statuses that come without an error of ours: from gRPC itself, a proxy or a stranger. A connection that ends in the
# middle of a call shows as any of the five that mean PEER_LOST here.
_PLAIN_STATUS: dict[grpc.StatusCode, type[UlyssesError]] = {
    grpc.StatusCode.CANCELLED: PeerLostError,
    grpc.StatusCode.UNKNOWN: PeerLostError,
    grpc.StatusCode.INTERNAL: PeerLostError,
    grpc.StatusCode.UNAVAILABLE: PeerLostError,
    grpc.StatusCode.DATA_LOSS: PeerLostError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
}


def open_channel(address: str, connections: ConnectionOptions) -> grpc.Channel:
    """A connection that is made on the first call.

    Raises CONFIG when `address` is not `host:port`, is beyond loopback without TLS and that is not meant, or files of
    TLS cannot be used.
    """
    if not re.fullmatch(r".+:\d{1,5}", address):
        raise field_error(ConfigError, "address", address, "host:port")
    connections.require_private("address", address)
    options = [*_OPTIONS, *connections.channel_options()]
    if connections.tls is None:
        return grpc.insecure_channel(address, options=options)
    tls = connections.tls
    return grpc.secure_channel(address, tls.credentials(), options=[*options, *tls.channel_options()])


def error_from_call(failure: grpc.RpcError, what: str) -> UlyssesError:
    """What a failed call means: the error in its trailers if the peer is one of ours, else what its status says."""
    # Every RpcError that a call raises is also the call.
    call: Any = failure
    trailers = call.trailing_metadata() if hasattr(call, "trailing_metadata") else None
    for name, value in trailers or ():
        if name == ERROR_METADATA:
            return error_from_proto(tensor_pb2.Error.FromString(value))
    status = call.code()
    error = _PLAIN_STATUS.get(status, InvariantError)
    if error is PeerLostError and call.details() == "Locally cancelled by application!":
        error = CancelledError
    reason = "no answer within its deadline" if error is DeadlineError else f"{status.name}, {call.details()}"
    return error(f"{what} failed: {reason}", {"method": what, "grpcStatus": status.name})


def owner_party(owner: int, job: str, session: str) -> str:
    """How a sequence owner introduces itself to a rank's tensor plane: as text that is equal to the ranks' own.

    They leave the same characters as they are: those of JavaScript's encodeURIComponent.
    """
    return "/".join(["owner", str(owner), *(quote(name, safe="!~*'()") for name in (job, session))])
