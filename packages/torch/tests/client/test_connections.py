"""How connections are made and kept: plaintext only where it is meant, and no waiting for whoever is stopped."""

import os
import signal
import time

import pytest

from tests.cluster import TestCluster, running_cluster
from ulysses_client.cluster import connect
from ulysses_client.errors import ConfigError, PeerLostError, UlyssesError
from ulysses_client.exchange.data_path import RouteChoice, StepTransfer
from ulysses_client.wire.connection import ConnectionOptions
from ulysses_client.wire.convert import RankAddress, StepKey
from ulysses_client.wire.tls import TlsFiles

from .test_exchange import inputs, step, view_of

pytestmark = pytest.mark.usefixtures("data_path")


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1:7100", True),
        ("127.8.9.10:7100", True),
        ("localhost:7100", True),
        ("[::1]:7100", True),
        ("[::ffff:127.0.0.1]:7100", True),
        ("10.0.0.1:7100", False),
        ("0.0.0.0:7100", False),
        ("[::]:7100", False),
        ("rank-1:7100", False),
        ("127.evil.example:7100", False),
        ("localhost.evil.example:7100", False),
    ],
)
def test_plaintext_is_for_loopback(address: str, private: bool) -> None:
    if private:
        ConnectionOptions().require_private("address", address)
        return
    with pytest.raises(ConfigError, match="expected a loopback address, TLS, or insecure") as refused:
        ConnectionOptions().require_private("address", address)
    assert (refused.value.field, refused.value.value) == ("address", f'"{address}"')
    ConnectionOptions(insecure=True).require_private("address", address)
    ConnectionOptions(TlsFiles("cert", "key", "ca")).require_private("address", address)


def test_a_coordinator_beyond_loopback_is_dialled_in_plaintext_only_when_that_is_meant(cluster: TestCluster) -> None:
    # Linux takes the address for this host. It is no loopback address, and so stands for those beyond.
    address = cluster.address.replace("127.0.0.1", "0.0.0.0")
    with pytest.raises(ConfigError) as refused:
        connect(address)
    assert (refused.value.field, refused.value.value) == ("address", f'"{address}"')
    arrays = inputs(40)
    with connect(address, insecure=True) as insecure, connect(cluster.address) as private:
        for got, want in zip(step(insecure, view_of(40), *arrays), step(private, view_of(40), *arrays), strict=True):
            assert (got == want).all()


@pytest.mark.parametrize("route", ["relay", "direct"])
def test_and_so_is_a_rank(route: RouteChoice) -> None:
    transfer = StepTransfer(StepKey("job", "session", 0, "forward", 0), 1, [], [])
    rank = RankAddress(0, "member", "10.0.0.1:7102")
    with connect("127.0.0.1:1", route=route) as connection, pytest.raises(ConfigError) as refused:
        connection.path.open_step(transfer, [rank], route == "direct", time.monotonic() + 5)
    assert refused.value.value == '"10.0.0.1:7102"'


@pytest.mark.parametrize("time_ms", [999, 0, -1, 2000.5, "5s"])
def test_a_time_in_which_no_peer_could_answer_is_refused(time_ms: object) -> None:
    with pytest.raises(ConfigError, match="expected an integer of at least 1000") as refused:
        connect("127.0.0.1:1", silent_peer_ms=time_ms)  # type: ignore[arg-type]
    assert refused.value.field == "silent_peer_ms"


def test_a_coordinator_that_is_stopped_is_found_before_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULYSSES_LEASE", "120s")
    arrays = inputs(40)
    replayed: list[UlyssesError] = []
    with running_cluster(2) as cluster:

        def resume(error: UlyssesError, attempt: int) -> None:
            replayed.append(error)
            os.kill(cluster.coordinator_pid, signal.SIGCONT)

        with connect(cluster.address, silent_peer_ms=3_000, deadline_ms=30_000, on_replay=resume) as connection:
            want = step(connection, view_of(40), *arrays)
            os.kill(cluster.coordinator_pid, signal.SIGSTOP)
            try:
                got = step(connection, view_of(40), *arrays)
            finally:
                os.kill(cluster.coordinator_pid, signal.SIGCONT)
    assert isinstance(replayed[0], PeerLostError)
    assert all((mine == theirs).all() for mine, theirs in zip(got, want, strict=True))
