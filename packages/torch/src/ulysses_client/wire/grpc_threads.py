"""The threads that gRPC runs calls in. They end a moment after what they run, and `close` waits for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

#: A thread of gRPC's that has nothing left to do ends in microseconds, however busy the machine.
_JOIN_SECONDS = 5.0


class GrpcThreads:
    """Those of one channel, as far as they have shown themselves: gRPC hands them to nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._drained: list[threading.Event] = []

    def follow(self, call: Any) -> None:
        """`call` is running: the thread of gRPC's that sees it end is one."""
        caller = threading.current_thread()

        def ended(_: Any) -> None:
            # A call that is over already says so to its caller, at once.
            if threading.current_thread() is not caller:
                self._add_current()

        call.add_done_callback(ended)

    def feed(self, messages: Iterator[bytes]) -> Iterator[bytes]:
        """Messages for a call to send: gRPC takes them in a thread of its own, which ends with them."""
        drained = threading.Event()
        self._drained.append(drained)

        def fed() -> Iterator[bytes]:
            try:
                yield from messages
            finally:
                # Also when gRPC, which saw the call cancelled, asks for no more.
                self._add_current()
                drained.set()

        return fed()

    def _add_current(self) -> None:
        with self._lock:
            self._threads = {each for each in self._threads if each.is_alive()} | {threading.current_thread()}

    def join(self) -> None:
        """Calls are cancelled and have no more messages to send."""
        deadline_at = time.monotonic() + _JOIN_SECONDS
        for drained in self._drained:
            drained.wait(max(0.0, deadline_at - time.monotonic()))
        for thread in self._threads - {threading.current_thread()}:
            thread.join(max(0.0, deadline_at - time.monotonic()))
