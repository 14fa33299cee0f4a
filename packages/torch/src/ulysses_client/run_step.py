"""One attempt at a step: the coordinator agrees and plans, rows go out and come back, the coordinator commits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import grpc

from .cluster import Cluster
from .committed_after_all import committed_after_all, transport_failed
from .errors import CancelledError, DeadlineError, InvariantError, UlyssesError
from .exchange.owner_exchange import OwnerExchange, Receive, Send, owner_exchange
from .exchange.step_channel import StepChannel
from .generated import coordinator_pb2
from .plan import verify_plan
from .wire.convert import Planned, StepKey, StepView, carried_tensors, planned_from_proto
from .wire.rpc import error_from_call

#: How long a broken tensor link waits for the coordinator to say which rank was lost first.
VERDICT_SECONDS = 0.8


class Transfers(NamedTuple):
    """What this owner sends and where results go."""

    sends: Sequence[Send]
    receives: Sequence[Receive]


@dataclass(frozen=True)
class StepCall:
    """One pass of one call, as this owner takes part in it."""

    key: StepKey
    view: StepView
    forward: StepKey | None
    release_forward: bool
    #: The exchange, and the names of the inputs that a backward brings.
    transfers: Callable[[OwnerExchange, str], Transfers]


@dataclass(frozen=True)
class StepOutcome:
    #: With the attempt that committed.
    key: StepKey
    planned: Planned
    exchange: OwnerExchange
    bytes_sent: int
    bytes_received: int


def run_step(cluster: Cluster, call: StepCall, deadline_at: float) -> StepOutcome:
    """Raises the step's first cause: when a rank dies, the error names that rank and not the link which noticed."""
    options = cluster.options
    request = coordinator_pb2.PlanStepRequest(
        step=call.key.to_proto(),
        owner_index=options.owner_index,
        owner_count=options.owner_count,
        view=call.view.to_proto(),
        forward=None if call.forward is None else call.forward.to_proto(),
        release_forward=call.release_forward,
    )
    cluster.require_open()
    verdict = _Verdict(cluster, request, call.key, deadline_at)
    try:
        planned = verdict.planned(deadline_at)
        cluster.contacted = True
        verify_plan(planned.plan)
        key = replace(call.key, attempt=planned.attempt)
        exchange = owner_exchange(planned.plan, options.owner_index)
        if planned.aligned_by_policy:
            cluster.warn_once(
                f"KV-cache policy {planned.kv_cache_policy} makes the exchange aligned: shards have to be equal and "
                "heads divide by cp_size; kv_cache_policy_unaligned (--kv-cache-policy-unaligned) leaves it unaligned"
            )
        carried = "" if key.passing == "forward" else carried_tensors(call.view.keep, planned.kv_cache_policy)
        sends, receives = call.transfers(exchange, carried)
        channel = StepChannel(key, planned.epoch, receives, sends)
        _move_rows(cluster, planned, channel, sends, verdict, deadline_at)
        return StepOutcome(key, planned, exchange, channel.bytes_sent, channel.bytes_received)
    finally:
        verdict.close()


def _move_rows(
    cluster: Cluster,
    planned: Planned,
    channel: StepChannel,
    sends: Sequence[Send],
    verdict: _Verdict,
    deadline_at: float,
) -> None:
    relay = planned.ranks[cluster.options.owner_index % len(planned.ranks)]
    cluster.drop_other_links(planned.ranks)
    link = cluster.open_step(relay, channel)
    try:
        verdict.tell(channel)
        for send in sends:
            link.send(channel, send)
        if not channel.wait(deadline_at):
            raise DeadlineError("the deadline passed while rows were on their way")
    except UlyssesError as seen:
        raise verdict.first_cause(seen) from None
    finally:
        cluster.close_step(channel)


class _Verdict:
    """The call to the coordinator, which lives as long as the step; its end is the step's verdict."""

    def __init__(
        self, cluster: Cluster, request: coordinator_pb2.PlanStepRequest, key: StepKey, deadline_at: float
    ) -> None:
        self._options = cluster.options
        self._coordinator = cluster.coordinators.current
        self._key = key
        self._deadline_at = deadline_at
        self._ended = threading.Event()
        self._call: Any = self._coordinator.plan_step(request, timeout=max(0.001, deadline_at - time.monotonic()))
        self._changed = threading.Condition()
        self._planned: Planned | None = None
        self._failure: UlyssesError | None = None
        self._committed = False
        self._channel: StepChannel | None = None
        self._thread = threading.Thread(target=self._read, name="ulysses-step", daemon=True)
        self._thread.start()

    def planned(self, deadline_at: float) -> Planned:
        with self._changed:
            while self._planned is None:
                if self._failure is not None:
                    raise self._failure
                left = deadline_at - time.monotonic()
                if left <= 0:
                    raise DeadlineError("the deadline passed before the step was planned")
                self._changed.wait(min(left, 1.0))
            return self._planned

    def tell(self, channel: StepChannel) -> None:
        """From now on the channel hears how the step ends."""
        with self._changed:
            self._channel = channel
            self._pass_on()

    def first_cause(self, seen: UlyssesError) -> UlyssesError:
        """The coordinator's verdict if it comes soon, else what this owner saw itself."""
        deadline_at = time.monotonic() + VERDICT_SECONDS
        with self._changed:
            while self._failure is None and not self._committed and time.monotonic() < deadline_at:
                self._changed.wait(deadline_at - time.monotonic())
            return seen if self._failure is None else self._failure

    def close(self) -> None:
        self._ended.set()
        self._call.cancel()
        self._thread.join()

    def _read(self) -> None:
        failure: UlyssesError = InvariantError("the coordinator ended the step before it was committed")
        try:
            for response in self._call:
                with self._changed:
                    if response.HasField("planned"):
                        self._planned = planned_from_proto(response.planned)
                    else:
                        self._committed = True
                    self._pass_on()
                    self._changed.notify_all()
        except grpc.RpcError as error:
            failure = error_from_call(error, "PlanStep")
        except UlyssesError as error:
            failure = error
        committed = self._committed or self._settle(failure)
        with self._changed:
            self._committed = committed
            if not committed:
                self._failure = failure
            self._pass_on()
            self._changed.notify_all()

    def _settle(self, failure: UlyssesError) -> bool:
        """A lone owner needs nobody, and repeats a step of which it heard no end."""
        if self._planned is None or self._options.owner_count == 1 or not transport_failed(failure):
            return False
        key = replace(self._key, attempt=self._planned.attempt)
        return committed_after_all(self._coordinator, self._options.owner_index, key, self._deadline_at, self._ended)

    def _pass_on(self) -> None:
        if self._channel is None:
            return
        if self._committed:
            self._channel.committed()
        elif self._failure is not None and not isinstance(self._failure, CancelledError):
            self._channel.fail(self._failure)
