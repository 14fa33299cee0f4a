"""Attention that runs while its caller does something else."""

from __future__ import annotations

import threading
import weakref

import torch
from torch import Tensor

from ulysses_client.attention_step import StoredForward
from ulysses_client.call_limits import Cancellation
from ulysses_client.cluster import Cluster
from ulysses_client.pending_call import PendingCall

from . import ops
from .runtime import keep_started


class PendingAttention:
    """What `UlyssesContextAttention.start` returns: `wait()` for out. Dropped before, the call is given up.

    q, k and v must stay as they are until then; they are part of the graph from then on.
    """

    def __init__(self, cluster: Cluster, prepared: ops.PreparedForward, qkv: tuple[Tensor, Tensor, Tensor]) -> None:
        self._started = _Started(cluster, prepared)
        self._number = keep_started(self._started)
        self._qkv = qkv
        self._layout = prepared.layout
        self._with_gradients = torch.is_grad_enabled()
        self._out: Tensor | None = None

    @property
    def done(self) -> bool:
        """Whether `wait` returns, or raises, at once."""
        return self._started.call.done

    def wait(self) -> Tensor:
        """Returns out, shaped like q, the same one each time. Raises what the module's own call would."""
        if self._out is None:
            with torch.set_grad_enabled(self._with_gradients):
                self._out, _ = ops.finish_attention(*self._qkv, self._number, self._layout)
        return self._out


class _Started:
    def __init__(self, cluster: Cluster, prepared: ops.PreparedForward) -> None:
        self._prepared = prepared
        cancellation = prepared.started.limits.cancellation
        ownership = _Ownership(cancellation)
        self.call = PendingCall(cluster, cancellation, lambda: ownership.take(prepared.run()))
        self._abandon = weakref.finalize(self, ownership.give_up)

    def finish(self) -> tuple[Tensor, Tensor]:
        stored = self.call.wait()
        self._abandon.detach()
        return self._prepared.results(stored)


class _Ownership:
    """Frees on the ranks what a forward gave that nobody waits for any more."""

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._lock = threading.Lock()
        self._stored: StoredForward | None = None
        self._given_up = False

    def take(self, stored: StoredForward) -> StoredForward:
        with self._lock:
            self._stored = stored
            given_up = self._given_up
        if given_up:
            stored.release()
        return stored

    def give_up(self) -> None:
        """Does not wait: also for finalizers."""
        with self._lock:
            self._given_up = True
            stored = self._stored
        self._cancellation.cancel()
        if stored is not None:
            stored.release()
