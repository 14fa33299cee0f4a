"""Fixtures of all tests."""

from collections.abc import Iterator

import pytest

from tests.cluster import TestCluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[TestCluster]:
    with running_cluster(3) as running:
        yield running


@pytest.fixture(scope="session")
def mortal() -> Iterator[TestCluster]:
    """One whose ranks may be killed."""
    with running_cluster(2) as running:
        yield running
