"""The coordinators of one cluster, of which one leads."""

from __future__ import annotations

import threading
from typing import Any

import grpc

from .errors import ConfigError, PeerLostError, UlyssesError
from .generated import coordinator_pb2
from .wire.connection import ConnectionOptions
from .wire.grpc_threads import GrpcThreads
from .wire.rpc import error_from_call, open_channel
from .wire.tls import TlsFiles, tls_refusal

_PLAN_STEP = "/ulysses.v1.CoordinatorService/PlanStep"
_SETTLE_STEP = "/ulysses.v1.CoordinatorService/SettleStep"
_RELEASE = "/ulysses.v1.CoordinatorService/Release"


class Coordinator:
    """The calls of one coordinator; connected by the first one."""

    def __init__(self, address: str, connections: ConnectionOptions) -> None:
        self.address = address
        self._tls = connections.tls
        #: Of the files that it was made with.
        self.stamps = _stamps(connections.tls)
        self._channel = open_channel(address, connections)
        self._grpc_threads = GrpcThreads()
        self._plan_step: Any = self._channel.unary_stream(
            _PLAN_STEP,
            coordinator_pb2.PlanStepRequest.SerializeToString,
            coordinator_pb2.PlanStepResponse.FromString,
        )
        self.settle_step: Any = self._channel.unary_unary(
            _SETTLE_STEP,
            coordinator_pb2.SettleStepRequest.SerializeToString,
            coordinator_pb2.SettleStepResponse.FromString,
        )
        self._release: Any = self._channel.unary_unary(
            _RELEASE, coordinator_pb2.ReleaseRequest.SerializeToString, coordinator_pb2.ReleaseResponse.FromString
        )

    def plan_step(self, request: coordinator_pb2.PlanStepRequest, timeout: float) -> Any:
        """The call, whose responses are iterated."""
        call = self._plan_step(request, timeout=timeout)
        self._grpc_threads.follow(call)
        return call

    def release(self, request: coordinator_pb2.ReleaseRequest, timeout: float) -> Any:
        """The call's future. Raises ValueError when the connection is closed."""
        call = self._release.future(request, timeout=timeout)
        self._grpc_threads.follow(call)
        return call

    def error_of(self, failure: grpc.RpcError, what: str) -> UlyssesError:
        """What a failed call means: UNAUTHENTICATED when certificates are why there is no connection."""
        error = error_from_call(failure, what)
        if not isinstance(error, PeerLostError) or "grpcStatus" not in error.details:
            return error
        return tls_refusal(self.address, self._tls) or error

    def close(self) -> None:
        self._channel.close()
        self._grpc_threads.join()


class Coordinators:
    """Calls go to the coordinator that last worked.

    A connection stays open when another takes its place, as calls may still run on it.
    """

    def __init__(self, addresses: str, connections: ConnectionOptions) -> None:
        self._addresses = [address.strip() for address in addresses.split(",")]
        self._connections = connections
        self._lock = threading.Lock()
        self._known: dict[str, Coordinator] = {}
        self._replaced: list[Coordinator] = []
        first, *_ = (self._connect(address) for address in self._addresses)
        self._current = first

    @property
    def current(self) -> Coordinator:
        with self._lock:
            self._use_changed_files()
            return self._current

    def fail_over(self, used: Coordinator, error: UlyssesError) -> None:
        """Turns to another coordinator if `error`, which came from `used`, says that another is better."""
        with self._lock:
            # Another call may have turned already.
            if used is not self._current or not isinstance(error, PeerLostError):
                return
            leader = error.details.get("leader")
            if leader is not None:
                self._current = self._connect(leader)
            elif error.field == "leader" or "grpcStatus" in error.details:
                # It does not lead and knows nobody who does, or it cannot be reached.
                known = self._addresses.index(used.address) if used.address in self._addresses else -1
                self._current = self._connect(self._addresses[(known + 1) % len(self._addresses)])

    def close(self) -> None:
        for coordinator in (*self._known.values(), *self._replaced):
            coordinator.close()

    def _use_changed_files(self) -> None:
        """A channel of gRPC keeps the certificates that it was made with: new ones need another."""
        used = self._current
        if _stamps(self._connections.tls) in (None, used.stamps):
            return
        try:
            fresh = Coordinator(used.address, self._connections)
        except ConfigError:
            # Not all of them are written yet.
            return
        self._replaced.append(used)
        self._current = self._known[used.address] = fresh

    def _connect(self, address: str) -> Coordinator:
        existing = self._known.get(address)
        if existing is None:
            existing = self._known[address] = Coordinator(address, self._connections)
        return existing


def _stamps(tls: TlsFiles | None) -> object:
    """None without TLS, and while a file is missing."""
    try:
        return None if tls is None else tls.stamps()
    except OSError:
        return None
