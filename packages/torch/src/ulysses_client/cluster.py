"""A connection to a cluster, held by one sequence owner."""

from __future__ import annotations

import itertools
import threading
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import grpc

from .coordinators import Coordinators
from .errors import CancelledError, PeerLostError, ShapeMismatchError, UlyssesError, field_error
from .exchange.step_channel import StepChannel
from .exchange.tensor_link import TensorLink
from .generated import coordinator_pb2
from .plan.split_sizes import is_integer
from .wire.convert import RankAddress, StepKey
from .wire.rpc import owner_party

_RELEASE_SECONDS = 5.0


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
    #: Hears of every replay, for logs.
    on_replay: Callable[[UlyssesError, int], None] | None
    tls: grpc.ChannelCredentials | None


class Cluster:
    """The control connection to the coordinator and the tensor link to this owner's relay rank.

    Calls may come from several threads. All owners of a session make the same calls in the same order.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self.options = options
        #: Whether the coordinator has ever answered: before, waiting for it to come back makes little sense.
        self.contacted = False
        self.coordinators = Coordinators(options.address, options.tls)
        self._calls = itertools.count()
        self._lock = threading.Lock()
        self._links: dict[RankAddress, TensorLink] = {}
        self._steps: dict[StepChannel, TensorLink] = {}
        self._warned: set[str] = set()
        self._closed = False

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def next_call(self) -> int:
        self.require_open()
        return next(self._calls)

    def warn_once(self, message: str) -> None:
        """Says so, unless this connection has said it before."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, UlyssesWarning, stacklevel=2)

    def require_open(self) -> None:
        if self._closed:
            raise CancelledError("the connection to the cluster is closed")

    def open_step(self, rank: RankAddress, channel: StepChannel) -> TensorLink:
        """Registers a step on the link to its relay, which is connected when there is none that works."""
        with self._lock:
            self.require_open()
            link = self._links.get(rank)
            broken = None if link is None or link.live else link
            if link is None or not link.live:
                options = self.options
                party = owner_party(options.owner_index, options.job, options.session)
                link = TensorLink(
                    rank.tensor_address,
                    options.owner_index,
                    party,
                    options.tls,
                    lambda reason: self._link_lost(rank, reason),
                )
                self._links[rank] = link
            self._steps[channel] = link
            link.register(channel)
        if broken is not None:
            broken.close()
        return link

    def close_step(self, channel: StepChannel) -> None:
        with self._lock:
            link = self._steps.pop(channel, None)
        if link is not None:
            link.remove(channel)

    def drop_other_links(self, ranks: tuple[RankAddress, ...]) -> None:
        """Ends links to members that are not of the current epoch and have no step."""
        with self._lock:
            idle = [
                rank for rank, link in self._links.items() if rank not in ranks and link not in self._steps.values()
            ]
            links = [self._links.pop(rank) for rank in idle]
        for link in links:
            link.close()

    def release(self, forward: StepKey) -> None:
        """Frees what a forward kept on the ranks, without waiting: also for finalizers."""
        if self._closed:
            return
        request = coordinator_pb2.ReleaseRequest(step=forward.to_proto())
        try:
            self.coordinators.current.release.future(request, timeout=_RELEASE_SECONDS)
        except ValueError:
            # The channel was closed in the meantime; ranks free it when its time to live is over.
            return

    def close(self) -> None:
        """Ends running steps with CANCELLED; waits for all threads. Harmless when repeated."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            links, steps = list(self._links.values()), list(self._steps)
        for channel in steps:
            channel.fail(CancelledError("the connection to the cluster was closed"))
        for link in links:
            link.close()
        self.coordinators.close()

    def _link_lost(self, rank: RankAddress, reason: str) -> None:
        with self._lock:
            # Unless the lost link was replaced already.
            link = self._links.get(rank)
            lost = [channel for channel, used in self._steps.items() if used is link and not used.live]
        details = {"peer": f"rank {rank.rank}", "member": rank.member}
        for channel in lost:
            message = f"rank {rank.rank} (member {rank.member}) was lost: {reason}"
            channel.fail(PeerLostError(message, details))


def connect(
    address: str,
    *,
    job: str = "default",
    session: str | None = None,
    owner_index: int = 0,
    owner_count: int = 1,
    deadline_ms: int = 60_000,
    first_contact_ms: int = 4_000,
    on_replay: Callable[[UlyssesError, int], None] | None = None,
    tls: grpc.ChannelCredentials | None = None,
) -> Cluster:
    """Connects to a cluster: `host:port` of its coordinator, or of several with commas between them.

    The coordinator is called at the first step, so this succeeds even while it starts.

    Raises CONFIG for an address that is not `host:port`, SHAPE_MISMATCH for an owner outside the count or several
    owners without a session name.
    """
    if not is_integer(owner_count) or owner_count < 1:
        raise field_error(ShapeMismatchError, "owner_count", owner_count, "an integer of at least 1")
    if not is_integer(owner_index) or not 0 <= owner_index < owner_count:
        raise field_error(ShapeMismatchError, "owner_index", owner_index, f"an integer from 0 to {owner_count - 1}")
    if owner_count > 1 and session is None:
        raise field_error(ShapeMismatchError, "session", session, "a name that all owners of this trainer share")
    return Cluster(
        ConnectOptions(
            address,
            job,
            session or str(uuid.uuid4()),
            owner_index,
            owner_count,
            deadline_ms,
            first_contact_ms,
            on_replay,
            tls,
        )
    )
