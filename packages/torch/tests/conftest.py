"""Fixtures of all tests."""

import sys
from collections.abc import Iterator

import pytest

from tests.cluster import TestCluster, running_cluster
from ulysses_client.exchange.choose_data_path import DATA_PATH_VARIABLE
from ulysses_client.exchange.data_path import DATA_PATHS, DataPathName

has_native = pytest.mark.skipif(sys.version_info < (3, 11), reason="ulysses_native is for Python 3.11 and newer")


@pytest.fixture(params=[pytest.param(name, marks=has_native if name == "native" else ()) for name in DATA_PATHS])
def data_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DataPathName:
    """What connections of the test use; a test that asks for it runs once with each."""
    name: DataPathName = request.param
    monkeypatch.setenv(DATA_PATH_VARIABLE, name)
    return name


@pytest.fixture(scope="session")
def cluster() -> Iterator[TestCluster]:
    with running_cluster(3) as running:
        yield running


@pytest.fixture(scope="session")
def mortal() -> Iterator[TestCluster]:
    """One whose ranks may be killed, and which takes steps of one job only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULYSSES_JOBS", "default")
        running = TestCluster(2)
    yield running
    running.close()
