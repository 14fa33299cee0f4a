"""Calls that run in a thread of their own, beside each other and beside their caller.

P1: a thread ends with its call; `Cluster.close` ends the calls of its connection and waits for their threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from .call_limits import CallLimits, Cancellation
from .call_thread import CallThread
from .cluster import Cluster

Result = TypeVar("Result")


class PendingCall(Generic[Result]):
    def __init__(self, cluster: Cluster, cancellation: Cancellation, work: Callable[[], Result]) -> None:
        self._cancellation = cancellation
        self._work: Callable[[], Result] | None = work
        self._ended = threading.Event()
        self._results: list[Result] = []
        self._failure: BaseException | None = None
        self._thread = CallThread("ulysses-call", self._run)
        try:
            cluster.run_thread(self._thread)
        except BaseException:
            # Ctrl-C while it starts: nobody would hear of the call.
            self.cancel()
            raise

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def wait(self) -> Result:
        """Until the call ends. Raises its failure; an interrupt of the wait gives the call up."""
        try:
            # In the main thread a wait with a limit lets Ctrl-C through on every platform.
            while not self._ended.wait(1.0):
                pass
        except BaseException:
            self.cancel()
            raise
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._results[0]

    def cancel(self) -> None:
        """Ends the call with CANCELLED, and waits until it has; harmless when it is over."""
        self._cancellation.cancel()
        self._thread.join()

    def _run(self) -> None:
        work, self._work = self._work, None
        try:
            if work is not None:
                self._results.append(work())
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.set()


def side_by_side(cluster: Cluster, limits: CallLimits, works: Sequence[Callable[[CallLimits], Result]]) -> list[Result]:
    """Results of all. When one fails or the wait is interrupted, the others are cancelled, and their end waited for."""
    ending = Cancellation()
    failures: list[BaseException] = []

    def run(work: Callable[[CallLimits], Result]) -> Result:
        try:
            return work(limits._replace(cancellation=ending))
        except BaseException as error:
            failures.append(error)
            ending.cancel()
            raise

    limits.cancellation.listen(ending.cancel)
    calls: list[PendingCall[Result]] = []
    try:
        for work in works:
            calls.append(PendingCall(cluster, ending, partial(run, work)))
        return [call.wait() for call in calls]
    except BaseException as seen:
        for call in calls:
            call.cancel()
        # An interrupt is not what a call failed with; else the first failure is the cause of all.
        raise (failures[0] if seen in failures else seen) from None
    finally:
        limits.cancellation.ignore(ending.cancel)
