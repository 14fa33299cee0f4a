"""Mutual TLS with a real cluster, by both data paths."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.certificates import Certificates, flags
from tests.cluster import TestCluster, running_cluster
from ulysses_client.cluster import Cluster, connect
from ulysses_client.errors import ConfigError, UnauthenticatedError
from ulysses_client.exchange.data_path import DataPathName, RouteChoice, StepTransfer
from ulysses_client.generated import coordinator_pb2
from ulysses_client.wire.convert import RankAddress, StepKey
from ulysses_client.wire.tls import TlsFiles

from .test_exchange import inputs, step, view_of
from .test_refusals import refusal_of

ARRAYS = inputs(70)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(certificates: Certificates) -> Iterator[TestCluster]:
    with by_tcp(), running_cluster(2, *flags(certificates.files("member"))) as running:
        yield running


@contextmanager
def by_tcp() -> Iterator[None]:
    """Clusters that are started now link nobody by unix sockets, which have no certificates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULYSSES_TRANSPORT", "tcp")
        yield


def rank_of(cluster: TestCluster, tls: TlsFiles) -> RankAddress:
    """The first rank, from the cluster's status."""
    with grpc.secure_channel(cluster.address, tls.credentials()) as channel:
        call = channel.unary_unary(
            "/ulysses.v1.CoordinatorService/GetStatus",
            coordinator_pb2.GetStatusRequest.SerializeToString,
            coordinator_pb2.GetStatusResponse.FromString,
        )
        rank = call(coordinator_pb2.GetStatusRequest(), timeout=5).ranks[0].rank
    return RankAddress(rank.index, rank.member, rank.tensor_address)


@pytest.mark.parametrize("route", ["relay", "direct"])
def test_a_step_over_tls_has_the_bits_of_one_in_plaintext(
    mortal: TestCluster, secure: TestCluster, certificates: Certificates, data_path: DataPathName, route: RouteChoice
) -> None:
    with connect(mortal.address, route=route) as plain:
        expected = step(plain, view_of(70), *ARRAYS)
    with connect(secure.address, route=route, tls=certificates.files("other")) as connection:
        got = step(connection, view_of(70), *ARRAYS)
    assert all((ours == theirs).all() for ours, theirs in zip(got, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "server_name", "reason"),
    [
        (None, None, "it speaks TLS"),
        ("stranger", None, "its certificate is not accepted"),
        ("pretender", None, "it does not accept this process's certificate"),
        ("expired", None, "it does not accept this process's certificate"),
        ("other", "ulysses.internal", "its certificate is not accepted: Hostname mismatch"),
    ],
)
def test_wrong_certificates_are_said_within_five_seconds(
    secure: TestCluster, certificates: Certificates, name: str | None, server_name: str | None, reason: str
) -> None:
    if name == "pretender":
        stranger = certificates.files("stranger")
        tls: TlsFiles | None = TlsFiles(stranger.cert, stranger.key, certificates.files("member").ca)
    else:
        tls = None if name is None else certificates.files(name, server_name)
    error = refusal_of(secure.address, tls=tls)
    assert isinstance(error, UnauthenticatedError)
    assert reason in error.message
    assert error.field == "tls"


def test_tls_to_a_cluster_in_plaintext_is_said_within_five_seconds(
    cluster: TestCluster, certificates: Certificates
) -> None:
    error = refusal_of(cluster.address, tls=certificates.files("member"))
    assert isinstance(error, UnauthenticatedError)
    assert "it does not speak TLS" in error.message


@pytest.mark.parametrize("name", [None, "stranger"])
def test_a_rank_that_refuses_certificates_fails_the_step_for_good(
    secure: TestCluster, certificates: Certificates, data_path: DataPathName, name: str | None
) -> None:
    tls = None if name is None else certificates.files(name)
    transfer = StepTransfer(StepKey("job", "session", 0, "forward", 0), 1, [], [])
    rank = rank_of(secure, certificates.files("member"))

    def run(connection: Cluster) -> None:
        connection.path.open_step(transfer, [rank], True, time.monotonic() + 4).wait(time.monotonic() + 4)

    with connect(secure.address, tls=tls) as connection, pytest.raises(UnauthenticatedError):
        run(connection)


def test_files_that_cannot_be_used_are_refused_by_name(certificates: Certificates) -> None:
    member, other = certificates.files("member"), certificates.files("other")
    for tls, field in [
        (TlsFiles("nowhere.pem", member.key, member.ca), "tls.cert"),
        (TlsFiles(member.cert, other.key, member.ca), "tls.cert"),
        (TlsFiles(member.cert, member.key, Path("nowhere.pem")), "tls.ca"),
        (TlsFiles(member.cert, member.key, member.key), "tls.ca"),
    ]:
        with pytest.raises(ConfigError) as refused:
            connect("127.0.0.1:1", tls=tls)
        assert refused.value.field == field


def test_files_that_change_are_used_by_a_connection_that_is_open(certificates: Certificates) -> None:
    certificates.put("member", "server")
    certificates.put("member", "client")
    with (
        by_tcp(),
        running_cluster(2, *flags(certificates.files("server"))) as running,
        connect(running.address, tls=certificates.files("client")) as connection,
    ):
        alone = step(connection, view_of(70), *ARRAYS)
        certificates.put("stranger", "server")
        certificates.put("stranger", "client")
        give_up_at = time.monotonic() + 5
        while True:
            # The cluster looks at its files once a second.
            try:
                results = step(connection, view_of(70), *ARRAYS)
                break
            except UnauthenticatedError:
                assert time.monotonic() < give_up_at
        assert all((got == want).all() for got, want in zip(results, alone, strict=True))
