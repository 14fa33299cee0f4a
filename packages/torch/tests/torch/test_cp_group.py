"""Groups of `torch.distributed` as owners: which connection they get, and who closes it. Each has one member here."""

import threading
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

from tests.certificates import Certificates
from tests.cluster import TestCluster
from ulysses_torch import CancelledError, ConfigError, TlsFiles, UlyssesContextAttention, connect
from ulysses_torch.cp_group import (
    ADDRESS_VARIABLE,
    INSECURE_VARIABLE,
    SILENT_PEER_VARIABLE,
    TLS_NAME_VARIABLE,
    TLS_VARIABLES,
    cluster_of,
)

from .parity import random_inputs


@pytest.fixture
def group() -> Iterator[dist.ProcessGroup]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    assert dist.group.WORLD is not None
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.usefixtures("data_path")
def test_closing_the_cluster_of_a_pair_closes_what_the_group_made(
    cluster: TestCluster, group: dist.ProcessGroup
) -> None:
    inputs = random_inputs((40, 1, 3, 16), 3, torch.float32)[:3]
    threads = set(threading.enumerate())
    with connect(cluster.address) as given:
        attention = UlyssesContextAttention(None, (group, given))
        out = attention(*inputs)
        assert torch.equal(UlyssesContextAttention(None, given)(*inputs), out)
        assert cluster_of((group, given)) is attention._runtime.cluster is not given
    assert set(threading.enumerate()) <= threads
    with pytest.raises(CancelledError, match="closed"):
        attention(*inputs)
    with pytest.raises(CancelledError, match="closed"):
        UlyssesContextAttention(None, (dist.new_group(), given))


def test_a_second_pair_has_the_options_of_its_own_cluster(cluster: TestCluster, group: dist.ProcessGroup) -> None:
    inputs = random_inputs((40, 1, 3, 16), 3, torch.float32)[:3]
    with connect(cluster.address, job="one") as one, connect(cluster.address, job="two", deadline_ms=9_000) as two:
        first, second = cluster_of((group, one)), cluster_of((group, two))
        assert (first.options.job, second.options.job) == ("one", "two")
        assert second.options.deadline_ms == 9_000
        assert first.options.session != second.options.session
        one.close()
        UlyssesContextAttention(None, (group, two))(*inputs)
        # As after a reconnect: what was closed is not what a new cluster gets.
        with connect(cluster.address, job="one") as again:
            UlyssesContextAttention(None, (group, again))(*inputs)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return Certificates(tmp_path_factory.mktemp("certificates")).files("member")


@pytest.mark.parametrize("name", [None, "ulysses.internal"])
def test_a_group_takes_the_files_of_tls_from_the_environment(
    group: dist.ProcessGroup, files: TlsFiles, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "127.0.0.1:1")
    for variable, path in zip(TLS_VARIABLES, (files.cert, files.key, files.ca), strict=True):
        monkeypatch.setenv(variable, str(path))
    monkeypatch.setenv(TLS_NAME_VARIABLE, name or "")
    with cluster_of(group) as made:
        assert made.options.connections.tls == TlsFiles(str(files.cert), str(files.key), str(files.ca), name)


@pytest.mark.parametrize("missing", TLS_VARIABLES)
def test_files_of_tls_go_together(
    group: dist.ProcessGroup, files: TlsFiles, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "127.0.0.1:1")
    for variable, path in zip(TLS_VARIABLES, (files.cert, files.key, files.ca), strict=True):
        monkeypatch.setenv(variable, "" if variable == missing else str(path))
    with pytest.raises(ConfigError) as refused:
        cluster_of(group)
    assert refused.value.field == missing


def test_without_tls_variables_a_group_connects_in_plaintext(
    group: dist.ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "127.0.0.1:1")
    for variable in TLS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    with cluster_of(group) as made:
        assert made.options.connections.tls is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (False, 20_000)),
        ({INSECURE_VARIABLE: "", SILENT_PEER_VARIABLE: ""}, (False, 20_000)),
        ({INSECURE_VARIABLE: "1", SILENT_PEER_VARIABLE: "5s"}, (True, 5_000)),
        ({INSECURE_VARIABLE: "false", SILENT_PEER_VARIABLE: "2500ms"}, (False, 2_500)),
        ({INSECURE_VARIABLE: "true", SILENT_PEER_VARIABLE: "1.5m"}, (True, 90_000)),
    ],
)
def test_a_group_dials_as_the_environment_says(
    group: dist.ProcessGroup,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    expected: tuple[bool, int],
) -> None:
    address = "10.0.0.1:7100" if expected[0] else "127.0.0.1:1"
    for name, value in {ADDRESS_VARIABLE: address, **variables}.items():
        monkeypatch.setenv(name, value)
    with cluster_of(group) as made:
        assert (made.options.connections.insecure, made.options.connections.silent_peer_ms) == expected


@pytest.mark.parametrize(
    ("variable", "value"), [(INSECURE_VARIABLE, "yes"), (SILENT_PEER_VARIABLE, "5"), (SILENT_PEER_VARIABLE, "5 s")]
)
def test_a_variable_that_says_nothing_is_refused(
    group: dist.ProcessGroup, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as refused:
        cluster_of(group)
    assert (refused.value.field, refused.value.value) == (variable, f'"{value}"')
