"""Forward and backward of one attention call, replayed until they commit.

Inputs are the caller's memory and are read again in a replay: they must stay what they were until the call returns,
and forward's inputs until its backward has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .call_limits import CallLimits, limits_from_now
from .cluster import Cluster
from .errors import HandleGoneError, OverloadedError, PlanInvalidError
from .exchange.fold_partials import GradientFold
from .exchange.owner_exchange import (
    OwnerExchange,
    backward_receives,
    backward_sends,
    forward_receives,
    forward_sends,
    owner_exchange,
)
from .plan import Plan, verify_plan
from .replay import with_replay
from .run_step import StepCall, StepOutcome, Transfers, run_step
from .wire.convert import Planned, StepKey, StepView, carried_tensors
from .wire.slices import Bytes


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
        limits = limits_from_now(self._cluster.options.deadline_ms)

        def attempt(number: int) -> StepOutcome:
            nonlocal handle_gone
            if handle_gone:
                self._repeat_forward(inputs, limits)
                handle_gone = False
            try:
                return self._backward_attempt(number, inputs, dout, dq, dk, dv, limits)
            except HandleGoneError:
                handle_gone = True
                raise

        outcome = with_replay(self._cluster, self._next_attempt, attempt, limits)
        self._next_attempt = outcome.key.attempt + 1
        self._stored = False
        return outcome

    def release(self) -> None:
        """Frees what the ranks keep; does not wait."""
        if self._stored:
            self._stored = False
            self._cluster.release(self._key)

    def _backward_attempt(
        self, number: int, inputs: QkvShards, dout: Bytes, dq: Bytes, dk: Bytes, dv: Bytes, limits: CallLimits
    ) -> StepOutcome:
        folds: list[GradientFold] = []

        def transfers(planned: Planned) -> Transfers:
            exchange = _exchange_of(self._cluster, planned)
            carried = carried_tensors(self._view.keep, planned.kv_cache_policy)
            fold = GradientFold(exchange, dk, dv)
            folds.append(fold)
            again = {name: shard for name, shard in vars(inputs).items() if name in carried}
            return Transfers(backward_sends(exchange, dout, again), [*backward_receives(exchange, dq), *fold.receives])

        key = replace(self._key, passing="backward", attempt=number)
        outcome = run_step(self._cluster, StepCall(key, self._view, self._key, True, transfers), limits)
        folds[-1].finish()
        return outcome

    def _repeat_forward(self, inputs: QkvShards, limits: CallLimits) -> None:
        out, lse = np.empty(inputs.q.shape, np.uint8), _lse_shard(inputs.q)
        first = replace(self._key, attempt=self._key.attempt + 1)
        outcome, self._view = run_forward(self._cluster, first, self._view, inputs, out, lse, limits)
        self._key = outcome.key


def forward(
    cluster: Cluster, view: StepView, inputs: QkvShards, out: Bytes, started: StartedCall | None = None
) -> StoredForward:
    """Runs forward until it commits; `out` is shaped like q, and zero before."""
    key, limits = started or start_call(cluster)
    outcome, agreed = run_forward(cluster, key, view, inputs, out, _lse_shard(inputs.q), limits)
    return StoredForward(cluster, agreed, outcome)


class StartedCall(NamedTuple):
    """A call that has its number: all owners number theirs alike, in the order of the calls."""

    key: StepKey
    limits: CallLimits


def start_call(cluster: Cluster) -> StartedCall:
    options = cluster.options
    key = StepKey(options.job, options.session, cluster.next_call(), "forward", 0)
    return StartedCall(key, limits_from_now(options.deadline_ms))


def run_forward(
    cluster: Cluster, key: StepKey, view: StepView, inputs: QkvShards, out: Bytes, lse: Bytes, limits: CallLimits
) -> tuple[StepOutcome, StepView]:
    """What ran, and the view that was agreed.

    When the store has no room and waiting for it is hopeless, the next attempt recomputes instead; all owners hear the
    same refusal, so all do.
    """

    def transfers(planned: Planned) -> Transfers:
        exchange = _exchange_of(cluster, planned)
        sends = forward_sends(exchange, inputs.q, inputs.k, inputs.v)
        return Transfers(sends, forward_receives(exchange, out, lse))

    def attempt(number: int) -> tuple[StepOutcome, StepView]:
        nonlocal view
        step = StepCall(replace(key, attempt=number), view, None, False, transfers)
        try:
            return run_step(cluster, step, limits), view
        except OverloadedError as error:
            if error.details.get("remedy") == "recompute":
                view = replace(view, keep="recompute")
                cluster.warn_once("forwards are recomputed in backward instead of stored: the ranks' store is full")
            raise

    return with_replay(cluster, key.attempt, attempt, limits)


def _exchange_of(cluster: Cluster, planned: Planned) -> OwnerExchange:
    plan = planned.plan
    if not isinstance(plan, Plan):
        raise PlanInvalidError("an exchange was planned, not attention")
    verify_plan(plan)
    return owner_exchange(plan, cluster.options.owner_index)


def _lse_shard(q: Bytes) -> Bytes:
    rows, batch, heads, _ = q.shape
    # [b, h, s, 4] in memory, so that the rows of a segment are one piece of it.
    lse: Bytes = np.empty((batch, heads, rows, 4), np.uint8).transpose(2, 0, 1, 3)
    return lse
