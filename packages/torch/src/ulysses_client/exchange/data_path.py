"""What moves rows between this owner's memory and the ranks, as steps see it; there are two that do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from ..errors import UlyssesError
from ..wire.convert import RankAddress, StepKey
from .owner_exchange import Receive, Send

#: native: the data plane in Rust, through the package `ulysses_native`. grpcio: plain gRPC, wherever Python runs.
DataPathName = Literal["native", "grpcio"]
DATA_PATHS: tuple[DataPathName, ...] = ("native", "grpcio")

#: relay: rows go through one rank; direct: straight to every rank; auto: through one until links to all are up.
RouteChoice = Literal["auto", "relay", "direct"]
ROUTES: tuple[RouteChoice, ...] = ("auto", "relay", "direct")


class StepTransfer(NamedTuple):
    """All that one owner moves in one step. Rows are the caller's memory, and are let go when the step is closed."""

    key: StepKey
    epoch: int
    sends: Sequence[Send]
    receives: Sequence[Receive]


class OpenStep(Protocol):
    """A step whose rows are taken.

    The first failure wins and ends every wait. After `close` nothing is written to memory of the step any more.
    """

    @property
    def bytes_sent(self) -> int: ...

    @property
    def bytes_received(self) -> int: ...

    @property
    def complete(self) -> bool:
        """Whether every row that this owner gets is placed."""

    def send_all(self) -> None:
        """Queues everything that this step sends, in its order; does not wait."""

    def committed(self) -> None: ...

    def fail(self, error: UlyssesError) -> None: ...

    def wait(self, deadline_at: float) -> bool:
        """Until the step is committed and every row placed; False at the deadline. Raises the first failure."""

    def close(self) -> None: ...


class DataPath(Protocol):
    """This owner's links to ranks. Calls may come from several threads."""

    @property
    def name(self) -> DataPathName: ...

    @property
    def direct(self) -> bool:
        """Whether the next step's rows go straight to every rank; steps say so before their ranks are known."""

    def open_step(
        self, transfer: StepTransfer, ranks: Sequence[RankAddress], direct: bool, deadline_at: float
    ) -> OpenStep:
        """Registers a step on its links, which are connected where none works. Links to other members are ended."""

    def close(self) -> None:
        """Ends running steps with CANCELLED, links, and threads, for which it waits. Harmless when repeated."""


def lost_rank(rank: RankAddress, reason: str) -> tuple[str, dict[str, str]]:
    """Message and details of the failure of steps whose link to `rank` broke."""
    message = f"rank {rank.rank} (member {rank.member}) was lost: {reason}"
    return message, {
        "field": "rank",
        "value": str(rank.rank),
        "expected": "a rank that serves until the step has ended",
        "peer": f"rank {rank.rank}",
        "member": rank.member,
    }
