"""One step's view of the tensor plane: what has arrived, what is acknowledged, what went wrong."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence

from ..errors import CancelledError, PlanInvalidError, ShapeMismatchError, UlyssesError
from ..wire.convert import StepKey
from ..wire.slices import Bytes, SliceHead, place_payload
from .owner_exchange import Receive, Send


class StepChannel:
    """State of one registered step.

    C1: the first failure wins, and ends every wait.
    C2: memory is written only under the lock and while the step is open: after `close` nothing is written any more.
    """

    def __init__(self, key: StepKey, epoch: int, receives: Sequence[Receive], sends: Sequence[Send]) -> None:
        self.key = key
        self.epoch = epoch
        self._changed = threading.Condition()
        self._failure: UlyssesError | None = None
        self._committed = False
        self._places = {(each.rank, each.tensor, each.number): each.rows for each in receives}
        self._placed: dict[tuple[int, str, int], int] = defaultdict(int)
        #: Bytes that are still to come from every rank, and all that it sends.
        self._left: dict[int, int] = defaultdict(int)
        for each in receives:
            self._left[each.rank] += each.rows.size
        self._expected = dict(self._left)
        self._unacknowledged: dict[int, int] = defaultdict(int)
        for send in sends:
            self._unacknowledged[send.rank] += send.bytes
        self.bytes_sent = sum(self._unacknowledged.values())
        self.bytes_received = sum(self._expected.values())

    @property
    def live(self) -> bool:
        return self._failure is None

    @property
    def complete(self) -> bool:
        return not any(self._left.values())

    def place(self, head: SliceHead, payload: Bytes) -> int | None:
        """Places a slice; returns all bytes of its source when this was its last. Raises what the source is told."""
        with self._changed:
            if self._failure is not None:
                return None
            name = (head.source, head.tensor, head.segment)
            rows = self._places.get(name)
            if rows is None:
                raise PlanInvalidError(f"segment {head.segment} of {head.tensor} from rank {head.source}: not expected")
            if head.segment_bytes != rows.size or head.offset_bytes + payload.size > rows.size:
                reach = head.offset_bytes + payload.size
                raise ShapeMismatchError(
                    f"segment {head.segment} of {head.tensor} from rank {head.source}: "
                    f"{reach} of {head.segment_bytes} bytes, expected {rows.size}"
                )
            if head.offset_bytes != self._placed[name]:
                raise PlanInvalidError(f"offset_bytes {head.offset_bytes}, expected {self._placed[name]}")
            place_payload(rows, head.offset_bytes, payload)
            self._placed[name] += payload.size
            self._left[head.source] -= payload.size
            if self._left[head.source] > 0:
                return None
            self._changed.notify_all()
            return self._expected[head.source]

    def acknowledged(self, rank: int, sent_bytes: int) -> None:
        with self._changed:
            expected = self._unacknowledged.pop(rank, None)
            if expected != sent_bytes:
                self._fail(PlanInvalidError(f"rank {rank} acknowledges {sent_bytes} bytes, expected {expected}"))
            self._changed.notify_all()

    def committed(self) -> None:
        with self._changed:
            self._committed = True
            self._changed.notify_all()

    def fail(self, error: UlyssesError) -> None:
        with self._changed:
            self._fail(error)

    def _fail(self, error: UlyssesError) -> None:
        if self._failure is None:
            self._failure = error
            self._changed.notify_all()

    def wait(self, deadline_at: float) -> bool:
        """Until the step is committed and every row placed; False at the deadline. Raises the first failure."""
        with self._changed:
            while self._failure is None:
                if self._committed and self.complete:
                    return True
                left = deadline_at - time.monotonic()
                if left <= 0:
                    return False
                # In the main thread a wait with a limit lets Ctrl-C through on every platform.
                self._changed.wait(min(left, 1.0))
            raise self._failure

    def close(self) -> None:
        with self._changed:
            self._fail(CancelledError("the step is closed"))
            self._places.clear()
