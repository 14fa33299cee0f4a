"""Who the sequence owners are: one process with whole sequences, or the members of a `torch.distributed` group."""

from __future__ import annotations

import os
import uuid
import weakref

import torch.distributed as dist

from ulysses_client.cluster import Cluster, connect
from ulysses_client.errors import ConfigError, UnsupportedError, field_error

ADDRESS_VARIABLE = "ULYSSES_ADDRESS"

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
    session = [str(uuid.uuid4())]
    dist.broadcast_object_list(session, group=group, group_src=0)
    owner = {"session": session[0], "owner_index": dist.get_rank(group), "owner_count": dist.get_world_size(group)}
    if like is None:
        cluster = connect(address, **owner)  # type: ignore[arg-type]
    else:
        options = like.options
        cluster = connect(
            address,
            job=options.job,
            deadline_ms=options.deadline_ms,
            first_contact_ms=options.first_contact_ms,
            on_replay=options.on_replay,
            tls=options.tls,
            **owner,  # type: ignore[arg-type]
        )
    _clusters[group] = cluster
    weakref.finalize(group, cluster.close)
    return cluster
