"""A connection to a cluster, held by one sequence owner."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import uuid
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import grpc

from .call_thread import CallThread
from .coordinators import Coordinators
from .errors import CancelledError, ShapeMismatchError, UlyssesError, UnsupportedError, field_error
from .exchange.choose_data_path import open_data_path
from .exchange.data_path import ROUTES, DataPathName, RouteChoice
from .generated import coordinator_pb2
from .plan.split_sizes import is_integer
from .wire.connection import ConnectionOptions
from .wire.convert import StepKey
from .wire.rpc import owner_party
from .wire.tls import TlsFiles

_RELEASE_SECONDS = 5.0
#: How long closing waits for releases that are under way.
_CLOSE_SECONDS = 1.0


class UlyssesWarning(UserWarning):
    """Something runs otherwise than the caller may think; said once per connection."""


@dataclass(frozen=True)
class ConnectOptions:
    #: `host:port` of the coordinator, or of several with commas between them: one leads, and is found.
    address: str
    #: Name of the training job; many jobs share one cluster.
    job: str
    #: Shared by all sequence owners of one trainer, unique among trainers of the job.
    session: str
    owner_index: int
    owner_count: int
    #: Longest that one call may take, replays included.
    deadline_ms: int
    #: How long the first call waits for a coordinator that cannot be reached.
    first_contact_ms: int
    #: How rows travel; results are the same bits.
    route: RouteChoice
    #: None: as ULYSSES_DATA_PATH says, else native where `ulysses_native` is installed.
    data_path: DataPathName | None
    #: Hears of every replay, for logs.
    on_replay: Callable[[UlyssesError, int], None] | None
    #: To the coordinator and to ranks.
    connections: ConnectionOptions


class Cluster:
    """The control connection to the coordinator and the data path to the ranks.

    Calls may come from several threads. All owners of a session make the same calls in the same order.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self.options = options
        #: Whether the coordinator has ever answered: before, waiting for it to come back makes little sense.
        self.contacted = False
        self.coordinators = Coordinators(options.address, options.connections)
        party = owner_party(options.owner_index, options.job, options.session)
        self.path = open_data_path(options.data_path, options.owner_index, party, options.route, options.connections)
        self._calls = itertools.count()
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._threads: set[CallThread] = set()
        self._releases: set[Any] = set()
        self._derived: weakref.WeakSet[Cluster] = weakref.WeakSet()
        self._closed = False

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def data_path(self) -> DataPathName:
        """What moves tensors: `native` or `grpcio`."""
        return self.path.name

    def derive(self, **changes: Any) -> Cluster:
        """A connection of its own with other options, which `close` closes with this one."""
        with self._lock:
            self.require_open()
            derived = Cluster(replace(self.options, **changes))
            self._derived.add(derived)
        return derived

    def next_call(self) -> int:
        self.require_open()
        return next(self._calls)

    def warn_once(self, message: str) -> None:
        """Says so, unless this connection has said it before."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, UlyssesWarning, stacklevel=2)

    def run_thread(self, thread: CallThread) -> None:
        """Starts a thread of a call, for whose end `close` waits."""
        with self._lock:
            self.require_open()
            self._threads = {each for each in self._threads if not each.over} | {thread}
            thread.start()

    def require_open(self) -> None:
        if self._closed:
            raise CancelledError("the connection to the cluster is closed")

    def release(self, forward: StepKey) -> None:
        """Frees what a forward kept on the ranks, without waiting: also for finalizers."""
        if self._closed:
            return
        request = coordinator_pb2.ReleaseRequest(step=forward.to_proto())
        try:
            release = self.coordinators.current.release(request, timeout=_RELEASE_SECONDS)
        except ValueError:
            # The channel was closed in the meantime; ranks free it when its time to live is over.
            return
        self._releases.add(release)
        release.add_done_callback(self._releases.discard)

    def close(self) -> None:
        """Ends running steps with CANCELLED; waits for all threads, for releases a moment. Harmless when repeated."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            derived = list(self._derived)
        for each in derived:
            each.close()
        self.path.close()
        self._hear_releases()
        self.coordinators.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _hear_releases(self) -> None:
        """Those under way would end with the connection, and what they free would stay for its time to live."""
        deadline_at = time.monotonic() + _CLOSE_SECONDS
        for release in list(self._releases):
            with contextlib.suppress(grpc.RpcError, grpc.FutureTimeoutError, grpc.FutureCancelledError):
                release.result(max(0.0, deadline_at - time.monotonic()))


def connect(
    address: str,
    *,
    job: str = "default",
    session: str | None = None,
    owner_index: int = 0,
    owner_count: int = 1,
    deadline_ms: int = 60_000,
    first_contact_ms: int = 4_000,
    route: RouteChoice = "auto",
    data_path: DataPathName | None = None,
    on_replay: Callable[[UlyssesError, int], None] | None = None,
    tls: TlsFiles | None = None,
    insecure: bool = False,
    silent_peer_ms: int = 20_000,
) -> Cluster:
    """Connects to a cluster: `host:port` of its coordinator, or of several with commas between them.

    The coordinator is called at the first step, so this succeeds even while it starts. Plaintext (no `tls`) beyond
    loopback takes `insecure`. A peer that is silent for `silent_peer_ms` is lost: keep that below the deadline.

    Raises SHAPE_MISMATCH for an owner outside the count or several owners without a session name, UNSUPPORTED for
    another route, or a data path that is not there, CONFIG for an address that is not `host:port`, or beyond loopback
    without `tls` or `insecure`, for files of TLS that cannot be used, and for a time in which no peer could answer.
    """
    if not is_integer(owner_count) or owner_count < 1:
        raise field_error(ShapeMismatchError, "owner_count", owner_count, "an integer of at least 1")
    if not is_integer(owner_index) or not 0 <= owner_index < owner_count:
        raise field_error(ShapeMismatchError, "owner_index", owner_index, f"an integer from 0 to {owner_count - 1}")
    if owner_count > 1 and session is None:
        raise field_error(ShapeMismatchError, "session", session, "a name that all owners of this trainer share")
    if route not in ROUTES:
        raise field_error(UnsupportedError, "route", route, f"one of {', '.join(ROUTES)}")
    connections = ConnectionOptions(tls, insecure, silent_peer_ms)
    connections.check()
    return Cluster(
        ConnectOptions(
            address,
            job,
            session or str(uuid.uuid4()),
            owner_index,
            owner_count,
            deadline_ms,
            first_contact_ms,
            route,
            data_path,
            on_replay,
            connections,
        )
    )
