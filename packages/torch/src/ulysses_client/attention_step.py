"""Forward and backward of one attention call, replayed until they commit.

Inputs are the caller's memory and are read again in a replay: they must stay what they were until the call returns,
and forward's inputs until its backward has.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from .cluster import Cluster
from .committed_after_all import transport_failed
from .errors import DeadlineError, HandleGoneError, OverloadedError, UlyssesError
from .exchange.fold_partials import GradientFold
from .exchange.owner_exchange import (
    OwnerExchange,
    backward_receives,
    backward_sends,
    forward_receives,
    forward_sends,
)
from .run_step import StepCall, StepOutcome, Transfers, run_step
from .wire.convert import StepKey, StepView
from .wire.slices import Bytes

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.5

Result = TypeVar("Result")


@dataclass(frozen=True)
class QkvShards:
    """uint8 [rows, batch, heads, d * element bytes] each, of any stride but with contiguous rows."""

    q: Bytes
    k: Bytes
    v: Bytes


class StoredForward:
    """A committed forward: what its backward needs to name it, and to repeat it when a rank lost what it kept."""

    def __init__(self, cluster: Cluster, view: StepView, outcome: StepOutcome) -> None:
        self._cluster = cluster
        # As it was agreed in the end: `keep` may have become recompute.
        self._view = view
        self._key = outcome.key
        self._next_attempt = 0
        self._stored = view.keep == "store"
        self.outcome = outcome

    def backward(self, inputs: QkvShards, dout: Bytes, dq: Bytes, dk: Bytes, dv: Bytes) -> StepOutcome:
        """Writes the gradients: `dq` like q, `dk` and `dv` like k, all zero before. Ranks free the forward.

        Repeated, it repeats forward from `inputs` first; the bits are the same.
        """
        handle_gone = self._view.keep == "store" and not self._stored

        def attempt(number: int, deadline_at: float) -> StepOutcome:
            nonlocal handle_gone
            if handle_gone:
                self._repeat_forward(inputs, deadline_at)
                handle_gone = False
            try:
                return self._backward_attempt(number, inputs, dout, dq, dk, dv, deadline_at)
            except HandleGoneError:
                handle_gone = True
                raise

        outcome = with_replay(self._cluster, self._next_attempt, attempt)
        self._next_attempt = outcome.key.attempt + 1
        self._stored = False
        return outcome

    def release(self) -> None:
        """Frees what the ranks keep; does not wait."""
        if self._stored:
            self._stored = False
            self._cluster.release(self._key)

    def _backward_attempt(
        self, number: int, inputs: QkvShards, dout: Bytes, dq: Bytes, dk: Bytes, dv: Bytes, deadline_at: float
    ) -> StepOutcome:
        folds: list[GradientFold] = []

        def transfers(exchange: OwnerExchange, carried: str) -> Transfers:
            fold = GradientFold(exchange, dk, dv)
            folds.append(fold)
            again = {name: shard for name, shard in vars(inputs).items() if name in carried}
            return Transfers(backward_sends(exchange, dout, again), [*backward_receives(exchange, dq), *fold.receives])

        key = replace(self._key, passing="backward", attempt=number)
        outcome = run_step(self._cluster, StepCall(key, self._view, self._key, True, transfers), deadline_at)
        folds[-1].finish()
        return outcome

    def _repeat_forward(self, inputs: QkvShards, deadline_at: float) -> None:
        out, lse = np.empty(inputs.q.shape, np.uint8), _lse_shard(inputs.q)
        left_ms = max(1, int((deadline_at - time.monotonic()) * 1000))
        first = replace(self._key, attempt=self._key.attempt + 1)
        outcome, self._view = run_forward(self._cluster, first, self._view, inputs, out, lse, left_ms)
        self._key = outcome.key


def forward(cluster: Cluster, view: StepView, inputs: QkvShards, out: Bytes) -> StoredForward:
    """Runs forward until it commits; `out` is shaped like q, and zero before."""
    options = cluster.options
    key = StepKey(options.job, options.session, cluster.next_call(), "forward", 0)
    lse = _lse_shard(inputs.q)
    outcome, agreed = run_forward(cluster, key, view, inputs, out, lse, options.deadline_ms)
    return StoredForward(cluster, agreed, outcome)


def run_forward(
    cluster: Cluster, key: StepKey, view: StepView, inputs: QkvShards, out: Bytes, lse: Bytes, deadline_ms: int
) -> tuple[StepOutcome, StepView]:
    """What ran, and the view that was agreed.

    When the store has no room and waiting for it is hopeless, the next attempt recomputes instead; all owners hear the
    same refusal, so all do.
    """

    def transfers(exchange: OwnerExchange, _: str) -> Transfers:
        sends = forward_sends(exchange, inputs.q, inputs.k, inputs.v)
        return Transfers(sends, forward_receives(exchange, out, lse))

    def attempt(number: int, deadline_at: float) -> tuple[StepOutcome, StepView]:
        nonlocal view
        step = StepCall(replace(key, attempt=number), view, None, False, transfers)
        try:
            return run_step(cluster, step, deadline_at), view
        except OverloadedError as error:
            if error.details.get("remedy") == "recompute":
                view = replace(view, keep="recompute")
                cluster.warn_once("forwards are recomputed in backward instead of stored: the ranks' store is full")
            raise

    return with_replay(cluster, key.attempt, attempt, deadline_ms)


def with_replay(
    cluster: Cluster, first_attempt: int, attempt: Callable[[int, float], Result], deadline_ms: int | None = None
) -> Result:
    """Runs `attempt` until it succeeds, fails with an error that repeating cannot help, or the deadline passes."""
    options = cluster.options
    limit_ms = options.deadline_ms if deadline_ms is None else deadline_ms
    started_at = time.monotonic()
    deadline_at = started_at + limit_ms / 1000
    replays = 0
    while True:
        if time.monotonic() >= deadline_at:
            raise DeadlineError(f"the call took longer than {limit_ms} ms")
        coordinator = cluster.coordinators.current
        try:
            return attempt(first_attempt + replays, deadline_at)
        except UlyssesError as error:
            cluster.coordinators.fail_over(coordinator, error)
            if not error.retryable:
                raise
            waited_ms = (time.monotonic() - started_at) * 1000
            # A wrong address, or no cluster there.
            never_reached = transport_failed(error) and not cluster.contacted
            pause = min(_FIRST_PAUSE_SECONDS * 2**replays, _LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.5)
            if (never_reached and waited_ms + pause * 1000 > options.first_contact_ms) or (
                time.monotonic() + pause > deadline_at
            ):
                raise
            replays += 1
            if options.on_replay is not None:
                options.on_replay(error, first_attempt + replays)
            time.sleep(pause)


def _lse_shard(q: Bytes) -> Bytes:
    rows, batch, heads, _ = q.shape
    return np.empty((rows, batch, heads, 4), np.uint8)
