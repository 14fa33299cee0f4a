"""Trainer processes that each hold a shard, as threads of one process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.cluster import TestCluster
from ulysses_torch import Cluster, connect


def owners(
    cluster: TestCluster, session: str, run: Callable[[Cluster, int], Any], count: int, **options: Any
) -> list[Any]:
    """What `run(connection, owner index)` returns on each of them."""

    def owner(index: int) -> Any:
        names = {"session": session, "owner_index": index, "owner_count": count}
        with connect(cluster.address, **{"deadline_ms": 20_000, **names, **options}) as connection:
            return run(connection, index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(owner, range(count)))
