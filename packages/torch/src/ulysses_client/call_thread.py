"""A thread of ours that can be waited for whatever happened while it was started."""

from __future__ import annotations

import threading
from collections.abc import Callable

#: How long a thread that the system has been asked for may take to begin.
_BEGIN_SECONDS = 5.0


class CallThread(threading.Thread):
    """Ctrl-C in `start` leaves a thread that runs, or is about to, and that `Thread.join` refuses to wait for."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, target=work, daemon=True)
        self._asked_for = False
        self._begun = threading.Event()

    @property
    def over(self) -> bool:
        """Also when it was never started."""
        return not self._asked_for or (self._begun.is_set() and not self.is_alive())

    def start(self) -> None:
        self._asked_for = True
        try:
            super().start()
        except Exception:
            # The system has no more threads.
            self._asked_for = False
            raise

    def run(self) -> None:
        self._begun.set()
        super().run()

    def join(self, timeout: float | None = None) -> None:
        """At once when it was never started."""
        if self._asked_for and self._begun.wait(_BEGIN_SECONDS):
            super().join(timeout)
