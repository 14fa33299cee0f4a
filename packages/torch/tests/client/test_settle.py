"""An owner whose call broke asks how its step ended. The coordinator here only answers that, from a list."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from ulysses_client.committed_after_all import committed_after_all
from ulysses_client.coordinators import Coordinator
from ulysses_client.generated import coordinator_pb2
from ulysses_client.wire.connection import ConnectionOptions
from ulysses_client.wire.convert import StepKey

KEY = StepKey("job", "session", 3, "backward", 1)


@contextmanager
def coordinator_that_answers(*answers: bool | grpc.StatusCode) -> Iterator[tuple[Coordinator, list[object]]]:
    """One answer per call: whether the step committed, or a failure of the call."""
    asked: list[object] = []

    def settle(request: coordinator_pb2.SettleStepRequest, context: grpc.ServicerContext) -> object:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(request)
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as the test says")
        return coordinator_pb2.SettleStepResponse(committed=bool(answer))

    method = grpc.unary_unary_rpc_method_handler(
        settle,
        coordinator_pb2.SettleStepRequest.FromString,
        coordinator_pb2.SettleStepResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler("ulysses.v1.CoordinatorService", {"SettleStep": method})
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        coordinator = Coordinator(f"127.0.0.1:{port}", ConnectionOptions())
        try:
            yield coordinator, asked
        finally:
            coordinator.close()
            server.stop(None).wait()


def settled(coordinator: Coordinator, seconds: float = 5.0) -> bool:
    return committed_after_all(coordinator, 1, KEY, time.monotonic() + seconds, threading.Event())


@pytest.mark.parametrize("committed", [True, False])
def test_the_coordinators_answer_decides(committed: bool) -> None:
    with coordinator_that_answers(committed) as (coordinator, asked):
        assert settled(coordinator) is committed
        assert asked == [coordinator_pb2.SettleStepRequest(step=KEY.to_proto(), owner_index=1)]


def test_a_coordinator_that_comes_back_is_asked_again() -> None:
    with coordinator_that_answers(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, True) as (each, asked):
        assert settled(each)
        assert len(asked) == 3


def test_a_refusal_means_that_it_did_not_commit() -> None:
    with coordinator_that_answers(grpc.StatusCode.UNIMPLEMENTED) as (coordinator, asked):
        assert not settled(coordinator)
        assert len(asked) == 1


def test_asking_ends_at_the_deadline_and_with_the_step() -> None:
    with coordinator_that_answers(grpc.StatusCode.UNAVAILABLE) as (coordinator, _):
        assert not settled(coordinator, 0.3)
        ended = threading.Event()
        ended.set()
        assert not committed_after_all(coordinator, 1, KEY, time.monotonic() + 60, ended)
