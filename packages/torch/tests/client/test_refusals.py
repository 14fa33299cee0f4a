"""Wrong addresses, jobs and calls: each has an error of its own within five seconds. No rows move, by any data path."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.cluster import TestCluster, running_cluster
from ulysses_client.attention_step import QkvShards, forward
from ulysses_client.call_limits import limits_from_now
from ulysses_client.cluster import connect
from ulysses_client.errors import (
    ConfigError,
    DeadlineError,
    ForbiddenError,
    PeerLostError,
    ShapeMismatchError,
    StepMismatchError,
    UlyssesError,
    UnsupportedError,
)
from ulysses_client.replay import with_replay

from .silent_peer import silent_peer
from .test_exchange import inputs, view_of


def refusal_of(address: str, **options: Any) -> UlyssesError:
    """What the first step of a connection fails with."""
    q, k, v, _ = (array.view(np.uint8) for array in inputs(4))
    with connect(address, **options) as connection, pytest.raises(UlyssesError) as refused:
        forward(connection, view_of(4), QkvShards(q, k, v), np.zeros_like(q))
    return refused.value


@contextmanager
def web_server() -> Iterator[str]:
    """Answers every connection at once, in another protocol."""
    with ThreadPoolExecutor(1) as pool, socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as caller:
                        caller.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        answering = pool.submit(answer)
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        answering.result(5)


def test_wrong_addresses_are_said_within_five_seconds(cluster: TestCluster) -> None:
    """Nobody there, somebody silent, a web server, and the port of a rank: all at once, as each takes its time."""
    q, k, v, _ = (array.view(np.uint8) for array in inputs(4))
    with connect(cluster.address) as connection:
        rank, *_ = forward(connection, view_of(4), QkvShards(q, k, v), np.zeros_like(q)).outcome.planned.ranks
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with silent_peer() as silent, web_server() as web, ThreadPoolExecutor(4) as pool:
        refused = pool.map(refusal_of, [nobody, silent, web, rank.tensor_address])
        assert list(map(type, refused)) == [PeerLostError, PeerLostError, PeerLostError, UnsupportedError]


def test_a_cluster_that_is_gone_is_waited_for_until_the_deadline() -> None:
    """Once it has answered: it may come back, unlike one that never did, which would have no replay here."""
    replays: list[UlyssesError] = []
    options: dict[str, Any] = {"first_contact_ms": 0, "deadline_ms": 3_000}
    q, k, v, _ = (array.view(np.uint8) for array in inputs(4))
    with (
        running_cluster(2) as running,
        connect(running.address, on_replay=lambda error, _: replays.append(error), **options) as connection,
    ):
        forward(connection, view_of(4), QkvShards(q, k, v), np.zeros_like(q))
        assert not replays
        running.close()
        with pytest.raises((PeerLostError, DeadlineError)):
            forward(connection, view_of(4), QkvShards(q, k, v), np.zeros_like(q))
        assert len(replays) > 1


def test_a_job_that_the_cluster_does_not_know_is_said_within_five_seconds(mortal: TestCluster) -> None:
    error = refusal_of(mortal.address, job="defualt")
    assert isinstance(error, ForbiddenError)
    assert (error.field, error.value) == ("job", '"defualt"')


def test_owners_of_different_jobs_do_not_meet_and_hear_who_is_missing(cluster: TestCluster) -> None:
    q, k, v, _ = (array.view(np.uint8) for array in inputs(4))

    def owner(index: int) -> UlyssesError:
        names = {"session": "jobs", "owner_index": index, "owner_count": 2, "job": f"job-{index}", "deadline_ms": 800}
        with connect(cluster.address, **names) as connection, pytest.raises(DeadlineError) as refused:
            forward(connection, view_of(4), QkvShards(q, k, v), np.zeros_like(q))
        return refused.value

    with ThreadPoolExecutor(2) as pool:
        errors = list(pool.map(owner, range(2)))
    assert [error.peer for error in errors] == ["owner 1", "owner 0"], [str(error) for error in errors]


def test_owners_that_disagree_hear_who_and_what(cluster: TestCluster) -> None:
    def owner(index: int) -> UlyssesError | None:
        with connect(cluster.address, session="disagree", owner_index=index, owner_count=3) as connection:
            q, k, v, _ = (array.view(np.uint8) for array in inputs(4))
            try:
                forward(connection, view_of(4, scale=0.5 if index == 1 else 0.25), QkvShards(q, k, v), np.zeros_like(q))
            except UlyssesError as error:
                return error
            return None

    with ThreadPoolExecutor(3) as pool:
        errors = list(pool.map(owner, range(3)))
    for error in errors:
        assert isinstance(error, StepMismatchError)
        assert error.field == "scale"
        assert error.peer == "owner 1"


def test_a_call_without_time_makes_no_attempt_and_names_its_deadline() -> None:
    with connect("127.0.0.1:1") as connection, pytest.raises(DeadlineError) as late:
        with_replay(connection, 0, lambda _: pytest.fail("an attempt was made"), limits_from_now(0))
    assert (late.value.field, late.value.expected) == ("deadline_ms", "at most 0 ms")
    assert int(late.value.value or "") >= 0


def test_a_missing_owner_is_named_at_the_deadline(cluster: TestCluster) -> None:
    q, k, v, _ = (array.view(np.uint8) for array in inputs(4))
    with (
        connect(cluster.address, session="alone", owner_count=2, deadline_ms=500) as connection,
        pytest.raises(DeadlineError),
    ):
        forward(connection, view_of(4), QkvShards(q, k, v), np.zeros_like(q))


@pytest.mark.parametrize(
    ("arguments", "error", "field"),
    [
        ({"address": "nowhere"}, ConfigError, "address"),
        ({"owner_index": 2, "owner_count": 2, "session": "s"}, ShapeMismatchError, "owner_index"),
        ({"owner_count": 2}, ShapeMismatchError, "session"),
        ({"owner_count": 0}, ShapeMismatchError, "owner_count"),
        ({"route": "scenic"}, UnsupportedError, "route"),
    ],
)
def test_wrong_options_are_refused_by_name(arguments: dict[str, object], error: type[UlyssesError], field: str) -> None:
    with pytest.raises(error) as refused:
        connect(**{"address": "127.0.0.1:1", **arguments})
    assert refused.value.field == field
