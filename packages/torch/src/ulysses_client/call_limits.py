"""How long a call may take, and how its caller gives it up from another thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from .errors import CancelledError, DeadlineError


class Cancellation:
    """Given to everything that waits for one call. Listeners are called once, at once if it is too late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._listeners: list[Callable[[], None]] = []

    def cancel(self) -> None:
        with self._lock:
            self._cancelled.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        with self._lock:
            if not self._cancelled.is_set():
                self._listeners.append(listener)
                return
        listener()

    def ignore(self, listener: Callable[[], None]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def pause(self, seconds: float) -> None:
        """Waits so long; raises CANCELLED when that ends the wait."""
        if self._cancelled.wait(seconds):
            raise CancelledError("the call was cancelled")


class CallLimits(NamedTuple):
    """Of one call, replays included."""

    deadline_ms: int
    deadline_at: float
    cancellation: Cancellation

    def passed(self, before: str) -> DeadlineError:
        """The error of a call whose deadline came before something happened."""
        waited_ms = round((time.monotonic() - self.deadline_at) * 1000) + self.deadline_ms
        return DeadlineError(
            f"the deadline of {self.deadline_ms} ms passed before {before}",
            {"field": "deadline_ms", "value": str(waited_ms), "expected": f"at most {self.deadline_ms} ms"},
        )


def limits_from_now(deadline_ms: int) -> CallLimits:
    return CallLimits(deadline_ms, time.monotonic() + deadline_ms / 1000, Cancellation())
