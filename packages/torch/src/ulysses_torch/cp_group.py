"""Who the sequence owners are: one process with whole sequences, or the members of a `torch.distributed` group."""

from __future__ import annotations

import os
import uuid
import weakref
from dataclasses import replace
from typing import Any

import torch.distributed as dist

from ulysses_client.cluster import Cluster, connect
from ulysses_client.errors import ConfigError, StepMismatchError, UnsupportedError, field_error
from ulysses_client.wire.tls import TlsFiles

ADDRESS_VARIABLE = "ULYSSES_ADDRESS"
TLS_VARIABLES = ("ULYSSES_TLS_CERT", "ULYSSES_TLS_KEY", "ULYSSES_TLS_CA")
TLS_NAME_VARIABLE = "ULYSSES_TLS_NAME"

CpGroup = Cluster | dist.ProcessGroup | tuple[dist.ProcessGroup, Cluster]

# One connection per group, which ends with it: modules of one model share a session and number its calls together.
_clusters: weakref.WeakKeyDictionary[dist.ProcessGroup, Cluster] = weakref.WeakKeyDictionary()


def cluster_of(cp_group: CpGroup) -> Cluster:
    """The connection to use. For a group every member must call this, in the same order."""
    if isinstance(cp_group, Cluster):
        return cp_group
    if isinstance(cp_group, dist.ProcessGroup):
        return _cluster_of_group(cp_group, None)
    if isinstance(cp_group, tuple) and len(cp_group) == 2:
        group, cluster = cp_group
        if isinstance(group, dist.ProcessGroup) and isinstance(cluster, Cluster):
            return _cluster_of_group(group, cluster)
    expected = "a cluster from connect(), a ProcessGroup, or both as a pair"
    raise field_error(UnsupportedError, "cp_group", type(cp_group).__name__, expected)


def _cluster_of_group(group: dist.ProcessGroup, like: Cluster | None) -> Cluster:
    known = _clusters.get(group)
    if known is not None:
        return known
    address = os.environ.get(ADDRESS_VARIABLE) if like is None else like.options.address
    if address is None:
        expected = "host:port of the cluster, because cp_group is a ProcessGroup"
        raise field_error(ConfigError, ADDRESS_VARIABLE, None, expected)
    owner: dict[str, Any] = {
        "session": _agreed_session(group, "default" if like is None else like.options.job),
        "owner_index": dist.get_rank(group),
        "owner_count": dist.get_world_size(group),
    }
    if like is None:
        cluster = connect(address, tls=_tls_of_environment(), **owner)
    else:
        cluster = Cluster(replace(like.options, **owner))
    _clusters[group] = cluster
    weakref.finalize(group, cluster.close)
    return cluster


def _agreed_session(group: dist.ProcessGroup, job: str) -> str:
    """A session of all members. Owners of different jobs would never meet in a step, so that is said here, to each."""
    said: list[tuple[str, str]] = [("", "")] * dist.get_world_size(group)
    dist.all_gather_object(said, (str(uuid.uuid4()), job), group=group)
    session, expected = said[0]
    for owner, (_, other) in enumerate(said):
        if other != expected:
            raise field_error(
                StepMismatchError, "job", other, f"{expected!r}, as owner 0 has it", peer=f"owner {owner}"
            )
    return session


def _tls_of_environment() -> TlsFiles | None:
    paths = {name: os.environ.get(name, "") for name in TLS_VARIABLES}
    if not any(paths.values()):
        return None
    for name, path in paths.items():
        if not path:
            raise field_error(ConfigError, name, None, f"a path: {', '.join(TLS_VARIABLES)} go together")
    cert, key, ca = paths.values()
    return TlsFiles(cert, key, ca, os.environ.get(TLS_NAME_VARIABLE) or None)
