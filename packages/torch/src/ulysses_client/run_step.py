"""One attempt at a step: the coordinator agrees and plans, rows go out and come back, the coordinator commits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import grpc

from .call_limits import CallLimits
from .call_thread import CallThread
from .cluster import Cluster
from .committed_after_all import committed_after_all, transport_failed
from .errors import CancelledError, InvariantError, UlyssesError
from .exchange.data_path import OpenStep, StepTransfer
from .exchange.owner_exchange import Receive, Send
from .generated import coordinator_pb2
from .wire.convert import ExchangeView, Planned, StepKey, StepView, planned_from_proto

#: How long a broken tensor link waits for the coordinator to say which rank was lost first.
VERDICT_SECONDS = 0.8
#: How long the call of a committed step may take to end.
END_SECONDS = 1.0


class Transfers(NamedTuple):
    """What this owner sends and where results go."""

    sends: Sequence[Send]
    receives: Sequence[Receive]


@dataclass(frozen=True)
class StepCall:
    """One pass of one call, as this owner takes part in it."""

    key: StepKey
    view: StepView | ExchangeView
    forward: StepKey | None
    release_forward: bool
    #: Checks the plan that came, and says what to send and where results go.
    transfers: Callable[[Planned], Transfers]


@dataclass(frozen=True)
class StepOutcome:
    #: With the attempt that committed.
    key: StepKey
    planned: Planned
    bytes_sent: int
    bytes_received: int


def run_step(cluster: Cluster, call: StepCall, limits: CallLimits) -> StepOutcome:
    """Raises the step's first cause: when a rank dies, the error names that rank and not the link which noticed."""
    options = cluster.options
    # An exchange alone goes from owner to owner, who cannot dial each other.
    direct = cluster.path.direct and not isinstance(call.view, ExchangeView)
    request = coordinator_pb2.PlanStepRequest(
        step=call.key.to_proto(),
        owner_index=options.owner_index,
        owner_count=options.owner_count,
        **_operation(call.view),
        forward=None if call.forward is None else call.forward.to_proto(),
        release_forward=call.release_forward,
        direct=direct,
    )
    cluster.require_open()
    verdict = _Verdict(cluster, request, call.key, limits.deadline_at)
    try:
        verdict.begin()
        limits.cancellation.listen(verdict.cancel)
        planned = verdict.planned(limits)
        cluster.contacted = True
        key = replace(call.key, attempt=planned.attempt)
        if planned.aligned_by_policy:
            cluster.warn_once(
                f"KV-cache policy {planned.kv_cache_policy} makes the exchange aligned: shards have to be equal and "
                "heads divide by cp_size; kv_cache_policy_unaligned (--kv-cache-policy-unaligned) leaves it unaligned"
            )
        sends, receives = call.transfers(planned)
        transfer = StepTransfer(key, planned.epoch, sends, receives)
        bytes_sent, bytes_received = _move_rows(cluster, planned, transfer, direct, verdict, limits)
        return StepOutcome(key, planned, bytes_sent, bytes_received)
    finally:
        limits.cancellation.ignore(verdict.cancel)
        verdict.close()


def _operation(view: StepView | ExchangeView) -> dict[str, Any]:
    return {"exchange" if isinstance(view, ExchangeView) else "view": view.to_proto()}


def _move_rows(
    cluster: Cluster, planned: Planned, transfer: StepTransfer, direct: bool, verdict: _Verdict, limits: CallLimits
) -> tuple[int, int]:
    """Bytes sent and received."""
    step: OpenStep | None = None
    try:
        step = cluster.path.open_step(transfer, planned.ranks, direct, limits.deadline_at)
        verdict.tell(step)
        step.send_all()
        if not step.wait(limits.deadline_at):
            raise limits.passed("every row of this owner was where it belongs")
    except UlyssesError as seen:
        cause = verdict.first_cause(seen)
        # Of a committed step every rank has its rows: what broke did so too late to matter, and acks may be gone.
        complete = not transfer.receives if step is None else step.complete
        if cause is not None or not complete:
            raise cause or seen from None
    finally:
        if step is not None:
            step.close()
    return (0, 0) if step is None else (step.bytes_sent, step.bytes_received)


class _Verdict:
    """The call to the coordinator, which lives as long as the step; its end is the step's verdict."""

    def __init__(
        self, cluster: Cluster, request: coordinator_pb2.PlanStepRequest, key: StepKey, deadline_at: float
    ) -> None:
        self._options = cluster.options
        self._request = request
        self._coordinator = cluster.coordinators.current
        self._key = key
        self._deadline_at = deadline_at
        self._ended = threading.Event()
        self._call: Any = None
        self._changed = threading.Condition()
        self._planned: Planned | None = None
        self._failure: UlyssesError | None = None
        self._committed = False
        self._step: OpenStep | None = None
        self._thread = CallThread("ulysses-step", self._read)

    def begin(self) -> None:
        self._thread.start()

    def planned(self, limits: CallLimits) -> Planned:
        with self._changed:
            while self._planned is None:
                if self._failure is not None:
                    raise self._failure
                left = limits.deadline_at - time.monotonic()
                if left <= 0:
                    raise limits.passed("the step was planned")
                self._changed.wait(min(left, 1.0))
            return self._planned

    def tell(self, step: OpenStep) -> None:
        """From now on the step hears how it ends."""
        with self._changed:
            self._step = step
            self._pass_on()
            if isinstance(self._failure, CancelledError):
                raise self._failure

    def first_cause(self, seen: UlyssesError) -> UlyssesError | None:
        """The coordinator's verdict if it comes soon, none for a commit; else what this owner saw itself."""
        deadline_at = time.monotonic() + VERDICT_SECONDS
        with self._changed:
            while self._failure is None and not self._committed and time.monotonic() < deadline_at:
                self._changed.wait(deadline_at - time.monotonic())
            if self._committed:
                return None
            return seen if self._failure is None else self._failure

    def cancel(self) -> None:
        """The caller gave the step up: every wait for it ends."""
        cancelled = CancelledError("the call was cancelled")
        with self._changed:
            self._failure = self._failure or cancelled
            if self._step is not None:
                self._step.fail(cancelled)
            self._changed.notify_all()
        self._end_call()

    def close(self) -> None:
        if self._committed:
            # The coordinator ends the call. Were it cancelled instead, Node would end the connection after 1000 resets
            # more than 33 per second, as an attack.
            self._thread.join(END_SECONDS)
        self._end_call()
        self._thread.join()

    def _end_call(self) -> None:
        self._ended.set()
        if self._call is not None:
            self._call.cancel()

    def _begin_call(self) -> Any:
        """In the thread: Ctrl-C, which comes to the main one, cannot part the call from who ends it.

        Not under the lock, which the main thread would wait for just when Ctrl-C comes.
        """
        if self._ended.is_set():
            raise CancelledError("the call was cancelled")
        timeout = max(0.001, self._deadline_at - time.monotonic())
        try:
            call = self._coordinator.plan_step(self._request, timeout=timeout)
        except ValueError:
            raise CancelledError("the connection to the cluster was closed") from None
        self._call = call
        if self._ended.is_set():
            call.cancel()
        return call

    def _read(self) -> None:
        failure: UlyssesError = InvariantError("the coordinator ended the step before it was committed")
        try:
            for response in self._begin_call():
                with self._changed:
                    if response.HasField("planned"):
                        self._planned = planned_from_proto(response.planned)
                    else:
                        self._committed = True
                    self._pass_on()
                    self._changed.notify_all()
        except grpc.RpcError as error:
            failure = self._coordinator.error_of(error, "PlanStep")
        except UlyssesError as error:
            failure = error
        committed = self._committed or self._settle(failure)
        with self._changed:
            self._committed = committed
            if not committed:
                self._failure = self._failure or failure
            self._pass_on()
            self._changed.notify_all()

    def _settle(self, failure: UlyssesError) -> bool:
        """A lone owner needs nobody, and repeats a step of which it heard no end."""
        if self._planned is None or self._options.owner_count == 1 or not transport_failed(failure):
            return False
        key = replace(self._key, attempt=self._planned.attempt)
        return committed_after_all(self._coordinator, self._options.owner_index, key, self._deadline_at, self._ended)

    def _pass_on(self) -> None:
        if self._step is None:
            return
        if self._committed:
            self._step.committed()
        elif self._failure is not None and not isinstance(self._failure, CancelledError):
            self._step.fail(self._failure)
