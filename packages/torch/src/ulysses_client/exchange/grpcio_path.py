"""The data path over plain gRPC: no native code.

A row is copied once between the memory of its tensor and a message, each way; what gRPC copies is its own affair.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..errors import CancelledError, PeerLostError, UlyssesError, UnauthenticatedError
from ..wire.connection import ConnectionOptions
from ..wire.convert import RankAddress
from .data_path import DataPathName, RouteChoice, StepTransfer, lost_rank
from .step_channel import StepChannel
from .tensor_link import TensorLink


class GrpcioPath:
    """Route `auto` relays: every link costs Python threads of its own."""

    name: DataPathName = "grpcio"

    def __init__(self, owner: int, party: str, route: RouteChoice, connections: ConnectionOptions) -> None:
        self._owner = owner
        self._party = party
        self._connections = connections
        self.direct = route == "direct"
        self._lock = threading.Lock()
        self._links: dict[RankAddress, TensorLink] = {}
        self._steps: set[GrpcioStep] = set()
        self._closed = False

    def open_step(
        self, transfer: StepTransfer, ranks: Sequence[RankAddress], direct: bool, deadline_at: float
    ) -> GrpcioStep:
        relay = ranks[self._owner % len(ranks)]
        idle: list[TensorLink] = []
        try:
            with self._lock:
                if self._closed:
                    raise CancelledError("the connection to the cluster is closed")
                used = {link for step in self._steps for link in step.links}
                gone = [rank for rank, link in self._links.items() if rank not in ranks and link not in used]
                idle.extend(self._links.pop(rank) for rank in gone)
                links = [self._link_to(rank if direct else relay, idle) for rank in ranks]
                step = GrpcioStep(self, transfer, links)
                self._steps.add(step)
                for link in step.links:
                    link.register(step)
        finally:
            for link in idle:
                link.close()
        return step

    def _link_to(self, rank: RankAddress, broken: list[TensorLink]) -> TensorLink:
        link = self._links.get(rank)
        if link is not None and link.live:
            return link
        if link is not None:
            broken.append(link)

        def lost(error: UlyssesError) -> None:
            self._link_lost(rank, error)

        link = self._links[rank] = TensorLink(rank.tensor_address, self._owner, self._party, self._connections, lost)
        link.begin()
        return link

    def forget(self, step: GrpcioStep) -> None:
        with self._lock:
            self._steps.discard(step)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            links, steps = list(self._links.values()), list(self._steps)
        for step in steps:
            step.fail(CancelledError("the connection to the cluster was closed"))
        for link in links:
            link.close()

    def _link_lost(self, rank: RankAddress, error: UlyssesError) -> None:
        with self._lock:
            # Unless the lost link was replaced already.
            link = self._links.get(rank)
            lost = [step for step in self._steps if link in step.links and link is not None and not link.live]
        for step in lost:
            refused = isinstance(error, UnauthenticatedError)
            step.fail(error if refused else PeerLostError(*lost_rank(rank, error.message)))


class GrpcioStep(StepChannel):
    """A step and, per rank, the link that its rows take."""

    def __init__(self, path: GrpcioPath, transfer: StepTransfer, link_of_rank: Sequence[TensorLink]) -> None:
        super().__init__(transfer.key, transfer.epoch, transfer.receives, transfer.sends)
        self._path = path
        self._sends = transfer.sends
        self._link_of_rank = link_of_rank
        self.links = frozenset(link_of_rank)

    def send_all(self) -> None:
        for send in self._sends:
            self._link_of_rank[send.rank].send(self, send)

    def close(self) -> None:
        self._path.forget(self)
        for link in self.links:
            link.remove(self)
        super().close()
