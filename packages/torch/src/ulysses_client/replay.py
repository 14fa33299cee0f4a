"""Attempts at a step until one commits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from .call_limits import CallLimits
from .cluster import Cluster
from .committed_after_all import transport_failed
from .errors import UlyssesError

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.5

Result = TypeVar("Result")


def with_replay(cluster: Cluster, first_attempt: int, attempt: Callable[[int], Result], limits: CallLimits) -> Result:
    """Runs `attempt` until it succeeds, fails with an error that repeating cannot help, or the deadline passes."""
    options = cluster.options
    started_at = time.monotonic()
    replays = 0
    while True:
        if time.monotonic() >= limits.deadline_at:
            raise limits.passed("it ended")
        coordinator = cluster.coordinators.current
        try:
            return attempt(first_attempt + replays)
        except UlyssesError as error:
            cluster.coordinators.fail_over(coordinator, error)
            if not error.retryable:
                raise
            waited_ms = (time.monotonic() - started_at) * 1000
            # A wrong address, or no cluster there.
            never_reached = transport_failed(error) and not cluster.contacted
            pause = min(_FIRST_PAUSE_SECONDS * 2**replays, _LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.5)
            if (never_reached and waited_ms + pause * 1000 > options.first_contact_ms) or (
                time.monotonic() + pause > limits.deadline_at
            ):
                raise
            replays += 1
            if options.on_replay is not None:
                options.on_replay(error, first_attempt + replays)
            limits.cancellation.pause(pause)
