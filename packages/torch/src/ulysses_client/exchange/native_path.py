"""The data path through `ulysses_native`: rows go straight from and to the tensors' memory, without the GIL.

Nothing here runs in a thread of its own: the plane has one, and it never runs Python.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal
from urllib.parse import quote

import numpy as np
from ulysses_native import Plane, PlaneError

from ..errors import ConfigError, DeadlineError, PeerLostError, UlyssesError, error_of
from ..wire.connection import ConnectionOptions
from ..wire.convert import RankAddress
from ..wire.slices import ROLE_OWNER, Bytes, peer_role
from .data_path import DataPathName, OpenStep, RouteChoice, StepTransfer, lost_rank
from .owner_exchange import Receive

Role = Literal["rank", "owner"]

#: Longest that a rank may take to answer before `auto` stays with the relay.
REACH_SECONDS = 2.0
#: And before a step whose rows have to go through it fails, to be repeated: by then the coordinator may know better.
CONNECT_SECONDS = 5.0
#: With more ranks `auto` stays with the relay: connections would grow as owners times ranks.
MOST_DIRECT_RANKS = 64


class NativePath:
    name: DataPathName = "native"

    def __init__(self, owner: int, party: str, route: RouteChoice, connections: ConnectionOptions) -> None:
        self._owner = owner
        self._party = party
        self._route = route
        self._connections = connections
        tls = connections.tls
        with _translated():
            self._plane = Plane(
                f"owner {owner}",
                tls=None if tls is None else (tls.cert, tls.key, tls.ca, tls.server_name),
                insecure=connections.insecure,
                silent_peer_ms=connections.silent_peer_ms,
            )
        self._ranks: Sequence[str] = ()

    @property
    def direct(self) -> bool:
        """`auto` goes direct while links to all ranks of the last step are up; it dials them beside the steps."""
        if self._route != "auto":
            return self._route == "direct"
        return bool(self._ranks) and all(self._state(link) == "connected" for link in self._ranks)

    def counters(self) -> dict[str, int]:
        with _translated():
            return self._plane.counters()

    def open_step(
        self, transfer: StepTransfer, ranks: Sequence[RankAddress], direct: bool, deadline_at: float
    ) -> OpenStep:
        names = [_link_name(rank) for rank in ranks]
        self._ranks = names
        with _translated():
            self._plane.keep_links(names)
        if direct:
            seconds = CONNECT_SECONDS if self._route == "direct" else REACH_SECONDS
            self._connect(ranks, min(deadline_at, time.monotonic() + seconds))
            links = names
        else:
            relay = ranks[self._owner % len(ranks)]
            self._connect([relay], min(deadline_at, time.monotonic() + CONNECT_SECONDS))
            if self._route == "auto" and len(ranks) <= MOST_DIRECT_RANKS:
                for rank in ranks:
                    # One that did not answer is not tried again.
                    if self._state(_link_name(rank)) != "failed":
                        self._dial(rank, REACH_SECONDS)
            links = [_link_name(relay)] * len(ranks)
        return NativeStep(self._plane, self._owner, transfer, ranks, links)

    def close(self) -> None:
        self._plane.close()

    def _connect(self, ranks: Sequence[RankAddress], until: float) -> None:
        for rank in ranks:
            self._dial(rank, until - time.monotonic())
        for rank in ranks:
            try:
                with _translated():
                    self._plane.wait_connected(_link_name(rank), until - time.monotonic())
            except ConfigError:
                # Plaintext beyond this host and its unix sockets.
                self._connections.require_private("tensor_address", rank.tensor_address)
                raise
            except DeadlineError as error:
                # The step is repeated; on route `auto` through the relay.
                raise PeerLostError(*lost_rank(rank, error.message)) from None

    def _dial(self, rank: RankAddress, seconds: float) -> None:
        with _translated():
            self._plane.dial(_link_name(rank), rank.tensor_address, self._party, seconds)

    def _state(self, link: str) -> str:
        with _translated():
            return self._plane.link_state(link)


class NativeStep:
    """C1: the first failure wins, and ends every wait."""

    def __init__(
        self, plane: Plane, owner: int, transfer: StepTransfer, ranks: Sequence[RankAddress], links: Sequence[str]
    ) -> None:
        self._transfer = transfer
        self._rank_of_link = {_link_name(rank): rank for rank in ranks}
        self._lock = threading.Lock()
        self._failure: UlyssesError | None = None
        self._committed = False
        self._awaited = {"received", "sent"}
        self.bytes_sent = sum(send.bytes for send in transfer.sends)
        self.bytes_received = sum(receive.rows.size for receive in transfer.receives)
        key = transfer.key
        name = (key.job, key.session, key.call, key.passing, key.attempt)
        receives = [
            (_peer(tensor, peer), tensor, rows) for (peer, tensor), rows in _by_source(transfer.receives).items()
        ]
        # Rows of an exchange alone pass a relay on their way to other owners.
        roles: tuple[Role, ...] = ("rank", "owner")
        routes = [((role, peer), link) for role in roles for peer, link in enumerate(links)]
        with _translated():
            self._step = plane.register_step(name, transfer.epoch, owner, receives, routes, self.bytes_sent)

    def send_all(self) -> None:
        whole: dict[tuple[int, str, int], Bytes] = {}
        parts = []
        for rank, tensor, number, rows, part in self._transfer.sends:
            name = rank, tensor, number
            if name not in whole:
                whole[name] = _rows_at_a_stride(rows)
            parts.append((_peer(tensor, rank), tensor, number, whole[name], *part))
        with _translated():
            self._step.send(parts)

    @property
    def complete(self) -> bool:
        return "received" not in self._awaited

    def committed(self) -> None:
        self._committed = True
        self._step.wake()

    def fail(self, error: UlyssesError) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error
        self._step.wake()

    def wait(self, deadline_at: float) -> bool:
        while self._failure is None:
            if self._committed and self.complete:
                return True
            left = deadline_at - time.monotonic()
            if left <= 0:
                return False
            self._hear(left)
        raise self._failure

    def _hear(self, seconds: float) -> None:
        with _translated():
            event = self._step.wait(seconds)
        match event:
            case ("received" | "sent") as part, *_:
                self._awaited.discard(part)
            case ("failed", code, message, peer):
                self.fail(error_of(code, message, {"peer": peer}))
            case ("lost", link, reason) if self._awaited:
                # Once every row is where it belongs, links may break.
                self.fail(PeerLostError(*lost_rank(self._rank_of_link[link], reason)))

    def close(self) -> None:
        self._step.close()


def _peer(tensor: str, index: int) -> tuple[Role, int]:
    return "owner" if peer_role(tensor) == ROLE_OWNER else "rank", index


def _by_source(receives: Sequence[Receive]) -> dict[tuple[int, str], list[Bytes]]:
    """Per rank and tensor the rows of its segments, which are numbered without a gap."""
    numbered: dict[tuple[int, str], dict[int, Bytes]] = defaultdict(dict)
    for receive in receives:
        numbered[receive.rank, receive.tensor][receive.number] = receive.rows
    return {source: [rows for _, rows in sorted(segments.items())] for source, segments in numbered.items()}


def _rows_at_a_stride(rows: Bytes) -> Bytes:
    """Rows that repeat or run backwards, as an expanded tensor's do, are copied once more."""
    (count, row_bytes), (stride, within) = rows.shape, rows.strides
    as_they_are = (row_bytes <= 1 or within == 1) and (count <= 1 or stride >= row_bytes)
    return rows if as_they_are else np.ascontiguousarray(rows)


def _link_name(rank: RankAddress) -> str:
    return f"rank/{rank.rank}/{quote(rank.member, safe='')}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PlaneError as error:
        raise error_of(*error.args) from None
