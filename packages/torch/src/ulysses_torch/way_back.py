"""How gradients go back through an exchange: by the reverse one, under the same call number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ulysses_client.call_limits import CallLimits
from ulysses_client.cluster import Cluster
from ulysses_client.errors import UnsupportedError, field_error
from ulysses_client.exchange_step import ExchangeOutcome, ReverseCall, run_reverse
from ulysses_client.wire.convert import StepKey

from .shards import DTYPES, TORCH_DTYPES, dense_bytes, tensor_of


class WayBack:
    """Of one committed exchange, whose tensor had `extent` rows of the gather dimension. May be gone several times."""

    def __init__(self, cluster: Cluster, key: StepKey, outcome: ExchangeOutcome, extent: int) -> None:
        self._cluster = cluster
        #: Of the next backward.
        self.key = replace(key, passing="backward", attempt=0)
        self._spec = outcome.spec
        self._extent = extent

    def gradient(
        self, gradient: Tensor, limits: CallLimits, purpose: str | None = None, fold_to: torch.dtype | None = None
    ) -> Tensor:
        """With `fold_to`, float32 sums of what several owners got are added in owner order and rounded once."""
        back = ReverseCall(DTYPES[gradient.dtype], self._extent, purpose, None if fold_to is None else DTYPES[fold_to])
        outcome = run_reverse(self._cluster, self.key, self._spec, dense_bytes(gradient), back, limits)
        self.key = replace(self.key, attempt=outcome.step.key.attempt + 1)
        return tensor_of(outcome.result, TORCH_DTYPES[back.fold_to or back.dtype], gradient.device)


class _FirstOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, result: Tensor, *_: Tensor) -> Tensor:
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise field_error(UnsupportedError, "create_graph", True, "False: gradients are of the first order")


def first_order(result: Tensor, *sources: Tensor) -> Tensor:
    """A gradient computed outside the graph, whose own gradient is refused by name when somebody asks for it."""
    refusing: Tensor = _FirstOrder.apply(result, *sources)
    return refusing
