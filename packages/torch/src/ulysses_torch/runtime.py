"""What the operators of `ops.py` find by number: operators take tensors and plain values only.

Nothing here keeps a cluster alive: `AttentionRuntime`s are held by the modules that use them, and a stored forward by
the memory of its handle, which autograd saves.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ulysses_client.attention_step import StoredForward
from ulysses_client.cluster import Cluster
from ulysses_client.errors import InvariantError
from ulysses_client.run_step import StepOutcome

_numbers = itertools.count(1)
_runtimes: weakref.WeakValueDictionary[int, AttentionRuntime] = weakref.WeakValueDictionary()
_forwards: dict[int, StoredForward] = {}
_started: weakref.WeakValueDictionary[int, StartedForward] = weakref.WeakValueDictionary()


class StartedForward(Protocol):
    def finish(self) -> tuple[Tensor, Tensor]:
        """Waits for `out` and the handle that backward needs."""


class AttentionRuntime:
    """A cluster as operators see it. Copies of a module share it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.number = next(_numbers)
        #: Of the newest step, for progress lines.
        self.last_outcome: StepOutcome | None = None
        _runtimes[self.number] = self

    def __deepcopy__(self, memo: dict[int, Any]) -> AttentionRuntime:
        return self


def runtime_of(number: int) -> AttentionRuntime:
    runtime = _runtimes.get(number)
    if runtime is None:
        raise InvariantError("the module of this attention call is gone")
    return runtime


def keep_started(started: StartedForward) -> int:
    """Its number, by which an operator finds it while its caller holds it."""
    number = next(_numbers)
    _started[number] = started
    return number


class _HandleMemory(np.ndarray[Any, np.dtype[np.int64]]):
    """Memory of a handle tensor; a class of its own because plain arrays have no weak references."""


def keep_forward(stored: StoredForward) -> Tensor:
    """A handle, int64 [1]. When the last tensor that shares its memory is gone, the ranks free the forward."""
    number = next(_numbers)
    memory = np.full((1,), number, np.int64).view(_HandleMemory)
    _forwards[number] = stored
    weakref.finalize(memory, _drop_forward, number)
    return torch.from_numpy(memory)


def no_forward() -> Tensor:
    """The handle of a forward of which nothing is kept."""
    return torch.zeros(1, dtype=torch.int64)


def forward_of(handle: Tensor) -> StoredForward:
    stored = _forwards.get(int(handle.item()))
    if stored is None:
        raise InvariantError("the handle of this forward is gone")
    return stored


def started_forward(number: int) -> StartedForward:
    started = _started.get(number)
    if started is None:
        raise InvariantError("the attention that was started is gone")
    return started


def _drop_forward(number: int) -> None:
    stored = _forwards.pop(number, None)
    if stored is not None:
        stored.release()
