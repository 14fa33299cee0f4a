"""Who the sequence owners are: one process with whole sequences, or the members of a `torch.distributed` group."""

from __future__ import annotations

import os
import re
import uuid
import weakref
from typing import Any

import torch.distributed as dist

from ulysses_client.cluster import Cluster, connect
from ulysses_client.errors import ConfigError, StepMismatchError, UnsupportedError, field_error
from ulysses_client.wire.tls import TlsFiles

ADDRESS_VARIABLE = "ULYSSES_ADDRESS"
TLS_VARIABLES = ("ULYSSES_TLS_CERT", "ULYSSES_TLS_KEY", "ULYSSES_TLS_CA")
TLS_NAME_VARIABLE = "ULYSSES_TLS_NAME"
INSECURE_VARIABLE = "ULYSSES_INSECURE"
SILENT_PEER_VARIABLE = "ULYSSES_SILENT_PEER"

_SWITCH = {"1": True, "true": True, "0": False, "false": False}
_MS_PER_UNIT = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}

CpGroup = Cluster | dist.ProcessGroup | tuple[dist.ProcessGroup, Cluster]

# One connection per group and cluster that it was paired with, which ends with either: modules of one model share a
# session and number its calls together.
_of_environment: weakref.WeakKeyDictionary[dist.ProcessGroup, Cluster] = weakref.WeakKeyDictionary()
_of_pairs: weakref.WeakKeyDictionary[dist.ProcessGroup, weakref.WeakKeyDictionary[Cluster, Cluster]]
_of_pairs = weakref.WeakKeyDictionary()


def cluster_of(cp_group: CpGroup) -> Cluster:
    """The connection to use. For a group every member must call this, in the same order, with as many clusters."""
    if isinstance(cp_group, Cluster):
        return cp_group
    if isinstance(cp_group, dist.ProcessGroup):
        return _of_group(cp_group)
    if isinstance(cp_group, tuple) and len(cp_group) == 2:
        group, cluster = cp_group
        if isinstance(group, dist.ProcessGroup) and isinstance(cluster, Cluster):
            return _of_pair(group, cluster)
    expected = "a cluster from connect(), a ProcessGroup, or both as a pair"
    raise field_error(UnsupportedError, "cp_group", type(cp_group).__name__, expected)


def _of_group(group: dist.ProcessGroup) -> Cluster:
    known = _of_environment.get(group)
    if known is not None:
        return known
    address = os.environ.get(ADDRESS_VARIABLE)
    if address is None:
        expected = "host:port of the cluster, because cp_group is a ProcessGroup"
        raise field_error(ConfigError, ADDRESS_VARIABLE, None, expected)
    cluster = connect(address, **_connections_of_environment(), **_owner_in(group, "default"))
    _of_environment[group] = cluster
    weakref.finalize(group, cluster.close)
    return cluster


def _of_pair(group: dist.ProcessGroup, given: Cluster) -> Cluster:
    """With the options of the cluster that was given, which closes it too."""
    known = _of_pairs.setdefault(group, weakref.WeakKeyDictionary())
    cluster = known.get(given)
    if cluster is None:
        cluster = known[given] = given.derive(**_owner_in(group, given.options.job))
        weakref.finalize(group, cluster.close)
    return cluster


def _owner_in(group: dist.ProcessGroup, job: str) -> dict[str, Any]:
    return {
        "session": _agreed_session(group, job),
        "owner_index": dist.get_rank(group),
        "owner_count": dist.get_world_size(group),
    }


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


def _connections_of_environment() -> dict[str, Any]:
    """Written as for the services; an empty variable counts as not set."""
    options: dict[str, Any] = {"tls": _tls_of_environment()}
    if switch := os.environ.get(INSECURE_VARIABLE):
        if switch not in _SWITCH:
            raise field_error(ConfigError, INSECURE_VARIABLE, switch, "true or false")
        options["insecure"] = _SWITCH[switch]
    if time := os.environ.get(SILENT_PEER_VARIABLE):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", time)
        if match is None:
            raise field_error(ConfigError, SILENT_PEER_VARIABLE, time, "a time such as 5000ms, 20s or 1.5m")
        options["silent_peer_ms"] = round(float(match[1]) * _MS_PER_UNIT[match[2]])
    return options


def _tls_of_environment() -> TlsFiles | None:
    paths = {name: os.environ.get(name, "") for name in TLS_VARIABLES}
    if not any(paths.values()):
        return None
    for name, path in paths.items():
        if not path:
            raise field_error(ConfigError, name, None, f"a path: {', '.join(TLS_VARIABLES)} go together")
    cert, key, ca = paths.values()
    return TlsFiles(cert, key, ca, os.environ.get(TLS_NAME_VARIABLE) or None)
