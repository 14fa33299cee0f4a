"""Which data path a connection uses, and which route rows take on it."""

import sys
import time

import pytest

from tests.cluster import TestCluster
from tests.conftest import has_native
from ulysses_client.cluster import connect
from ulysses_client.errors import PeerLostError, UnsupportedError
from ulysses_client.exchange.data_path import DataPathName, StepTransfer
from ulysses_client.wire.convert import RankAddress, StepKey

from .silent_peer import silent_peer
from .test_exchange import inputs, step, view_of

NOBODY = "127.0.0.1:1"


def test_a_connection_says_what_moves_its_tensors(data_path: DataPathName) -> None:
    with connect(NOBODY) as connection:
        assert connection.data_path == data_path
    with connect(NOBODY, data_path="grpcio") as connection:
        assert connection.data_path == "grpcio"


@has_native
def test_the_native_path_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(NOBODY) as connection:
        assert connection.data_path == "native"
    monkeypatch.setitem(sys.modules, "ulysses_native", None)
    monkeypatch.delitem(sys.modules, "ulysses_client.exchange.native_path")
    with connect(NOBODY) as connection:
        assert connection.data_path == "grpcio"
    with pytest.raises(UnsupportedError, match="ulysses_native") as refused:
        connect(NOBODY, data_path="native")
    assert refused.value.field == "data_path"


def test_a_data_path_that_does_not_exist_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedError) as refused:
        connect(NOBODY, data_path="pigeon")  # type: ignore[arg-type]
    assert refused.value.field == "data_path"
    monkeypatch.setenv("ULYSSES_DATA_PATH", "pigeon")
    with pytest.raises(UnsupportedError) as refused:
        connect(NOBODY)
    assert refused.value.field == "ULYSSES_DATA_PATH"


@has_native
@pytest.mark.parametrize("direct", [False, True])
def test_a_rank_that_does_not_answer_fails_the_step_in_a_way_that_is_repeated(direct: bool) -> None:
    transfer = StepTransfer(StepKey("job", "session", 0, "forward", 0), 1, [], [])
    with silent_peer() as address, connect(NOBODY, data_path="native") as connection:
        ranks = [RankAddress(0, "member", address)]
        with pytest.raises(PeerLostError, match=r"did not answer|not up") as lost:
            connection.path.open_step(transfer, ranks, direct, time.monotonic() + 0.2)
        assert lost.value.peer == "rank 0"
        assert (lost.value.field, lost.value.value) == ("rank", "0")
        assert lost.value.expected == "a rank that serves until the step has ended"


@has_native
def test_auto_goes_direct_once_links_to_all_ranks_are_up(cluster: TestCluster) -> None:
    arrays = inputs(60)
    with connect(cluster.address, data_path="native") as connection:
        assert not connection.path.direct
        relayed = step(connection, view_of(60), *arrays)
        deadline_at = time.monotonic() + 10
        while not connection.path.direct:
            assert time.monotonic() < deadline_at
        for got, want in zip(step(connection, view_of(60), *arrays), relayed, strict=True):
            assert (got == want).all()
