"""The data plane of one sequence owner, in Rust. Every wait is without the GIL and lets Ctrl-C through."""

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

#: job, session, call, pass, attempt
_Key: TypeAlias = tuple[str, str, int, str, int]
#: role, index
_Party: TypeAlias = tuple[Literal["rank", "owner"], int]
#: Bytes [rows, row_bytes]. That arrays are buffers is in the types of Python 3.12 and newer only.
_Rows: TypeAlias = Buffer | npt.NDArray[np.uint8]
#: code, message, peer; or link, reason
_StepEvent: TypeAlias = (
    tuple[Literal["received"]]
    | tuple[Literal["sent"]]
    | tuple[Literal["failed"], str, str, str]
    | tuple[Literal["lost"], str, str]
)

_Path: TypeAlias = str | PathLike[str]

class PlaneError(Exception):
    """`args` are a code of the project's error table and a message."""

    args: tuple[str, str]

@final
class Plane:
    """Links to ranks and the thread that serves them."""

    def __new__(
        cls,
        description: str,
        *,
        tls: tuple[_Path, _Path, _Path, str | None] | None = None,
        insecure: bool = False,
        silent_peer_ms: int = 20_000,
    ) -> Plane:
        """`tls`: PEM files of certificate, key and authorities, and the name to expect; None: plaintext."""

    def dial(self, link: str, address: str, party: str, seconds: float) -> None:
        """Begins to open a link, unless it is up or being dialled; does not wait."""

    def wait_connected(self, link: str, seconds: float) -> None:
        """Until a dialled link is up. Raises why it is not, or DEADLINE."""

    def link_state(self, link: str) -> Literal["unknown", "dialling", "connected", "failed", "lost"]: ...
    def keep_links(self, links: Sequence[str]) -> None:
        """Ends all other links, but for those that steps use."""

    def register_step(
        self,
        key: _Key,
        epoch: int,
        owner: int,
        receives: Sequence[tuple[_Party, str, Sequence[_Rows]]],
        routes: Sequence[tuple[_Party, str]],
        send_bytes: int,
    ) -> Step:
        """Reserves rows for what is received: source, tensor, segments in order. `routes`: destinations and links.

        Rows are writable, each row contiguous, at any positive stride; they are exported until the step is closed.
        """

    def counters(self) -> dict[str, int]:
        """Bytes since it was opened: sent, received, of those sent shared; connections, steps and links of now."""

    def close(self) -> None:
        """Ends steps, links and the thread, for which it waits. Harmless when repeated."""

@final
class Step:
    def send(self, parts: Sequence[tuple[_Party, str, int, _Rows, int, int]]) -> None:
        """Queues destination, tensor, segment, its rows, and which of them: from, up to. A segment's leave in order.

        Rows are read by the plane until they are acknowledged.
        """

    def wait(self, seconds: float) -> _StepEvent | None:
        """What happened next; None after `seconds`, or when `wake` was called. Raises CANCELLED once it is closed."""

    def wake(self) -> None:
        """Ends the wait of now, or the next one."""

    def close(self) -> None:
        """Forgets the step: nothing is written to its rows any more, and they are let go. Harmless when repeated."""
