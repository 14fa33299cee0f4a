"""The all-to-all alone, of any two dimensions of a tensor of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ulysses_client.attention_step import StartedCall, start_call
from ulysses_client.call_limits import limits_from_now
from ulysses_client.cluster import Cluster
from ulysses_client.errors import ShapeMismatchError, UnsupportedError, field_error
from ulysses_client.exchange_step import ExchangeCall, ExchangeOutcome, reverse_view, run_exchange
from ulysses_client.plan import DType, RowRange, split_ranges
from ulysses_client.plan.split_sizes import is_integer
from ulysses_client.wire.convert import ExchangeView

from .cp_group import CpGroup, cluster_of
from .shards import DTYPES, dense_bytes, tensor_of
from .way_back import WayBack, first_order


@dataclass(frozen=True)
class ExchangeReport:
    #: What every owner holds of the gather dimension before, without padding; and of the scatter dimension afterwards.
    gather_splits: tuple[int, ...]
    scatter_splits: tuple[int, ...]
    epoch: int
    attempt: int
    #: Payload that this owner sent and got; what it keeps to itself does not travel.
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True)
class Exchanged:
    """This owner's tensor after an exchange; gradients flow back through the reverse exchange."""

    tensor: Tensor
    report: ExchangeReport
    _cluster: Cluster
    _outcome: ExchangeOutcome
    #: Of the gather dimension, before the exchange.
    _extent: int

    def reverse(self, tensor: Tensor) -> Exchanged:
        """The two dimensions change places, for a tensor shaped like `tensor` (its dtype may be another).

        Rows that were not exchanged come back as zeros. All owners call it, like any exchange.
        """
        started = start_call(self._cluster)
        dtype = _dtype_of(tensor)
        if tensor.shape != self.tensor.shape:
            expected = f"{list(self.tensor.shape)}, like the result that is reversed"
            raise field_error(ShapeMismatchError, "tensor.shape", list(tensor.shape), expected)
        spec = self._outcome.spec
        view = reverse_view(spec, self._cluster.options.owner_index, dtype)
        return _exchanged(self._cluster, started, tensor, view, self._extent)


# It waits for other owners between pieces of a graph, so a compiler leaves it alone.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def exchange(
    cp_group: CpGroup,
    tensor: Tensor,
    *,
    scatter_dim: int,
    gather_dim: int,
    gather_size: int | None = None,
    aligned: bool = False,
    scatter_splits: Sequence[int] | None = None,
) -> Exchanged:
    """The all-to-all of this owner's shard. There is one owner per rank; all call it with the same options.

    tensor: at least 2 dimensions, float32, bfloat16 or float16.
    scatter_dim: the dimension that is whole now and cut over the owners afterwards.
    gather_dim: the dimension that is cut over the owners now and whole afterwards.
    gather_size: extent of the gather dimension afterwards; what shards hold beyond it is padding and not exchanged.
        Default: all there is.
    aligned: refuses shards of different extents and a scatter dimension that does not divide.
    scatter_splits: what every owner gets of the scatter dimension; default: equal parts, the remainder one each to the
        lowest owners.
    """
    cluster = cluster_of(cp_group)
    # Numbered before anything can be refused: calls are numbered as they are made, on every owner.
    started = start_call(cluster)
    dtype = _dtype_of(tensor)
    for field, dim in (("scatter_dim", scatter_dim), ("gather_dim", gather_dim)):
        if not is_integer(dim) or not 0 <= dim < tensor.dim():
            raise field_error(ShapeMismatchError, field, dim, f"an integer from 0 to {tensor.dim() - 1}")
    if scatter_dim == gather_dim:
        raise field_error(ShapeMismatchError, "scatter_dim", scatter_dim, "another dimension than gather_dim")
    if gather_size is not None and not (is_integer(gather_size) and gather_size >= 1 and not aligned):
        expected = "None when aligned" if aligned else "None or a positive integer"
        raise field_error(ShapeMismatchError, "gather_size", gather_size, expected)
    view = ExchangeView(
        dtype=dtype,
        shape=tuple(tensor.shape),
        scatter_dim=scatter_dim,
        gather_dim=gather_dim,
        gather_size=gather_size,
        aligned=aligned,
        scatter_ranges=_scatter_ranges(scatter_splits, tensor.shape[scatter_dim], cluster.options.owner_count),
        gather_ranges=None,
        purpose=None,
    )
    return _exchanged(cluster, started, tensor, view, None)


def _exchanged(
    cluster: Cluster, started: StartedCall, tensor: Tensor, view: ExchangeView, result_extent: int | None
) -> Exchanged:
    outcomes: list[ExchangeOutcome] = []
    result: Tensor = _Exchange.apply(tensor, cluster, started, view, result_extent, outcomes)
    (outcome,) = outcomes
    step, spec = outcome.step, outcome.spec
    report = ExchangeReport(
        tuple(end - begin for begin, end in spec.gather_ranges),
        tuple(end - begin for begin, end in spec.scatter_ranges),
        step.planned.epoch,
        step.key.attempt,
        step.bytes_sent,
        step.bytes_received,
    )
    return Exchanged(result, report, cluster, outcome, tensor.shape[view.gather_dim])


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tensor: Tensor,
        cluster: Cluster,
        started: StartedCall,
        view: ExchangeView,
        result_extent: int | None,
        outcomes: list[ExchangeOutcome],
    ) -> Tensor:
        outcome = run_exchange(
            cluster, started.key, ExchangeCall(view, dense_bytes(tensor), result_extent), started.limits
        )
        outcomes.append(outcome)
        ctx.way_back = WayBack(cluster, started.key, outcome, tensor.shape[view.gather_dim])
        ctx.deadline_ms = started.limits.deadline_ms
        return tensor_of(outcome.result, tensor.dtype, tensor.device)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        result = ctx.way_back.gradient(gradient, limits_from_now(ctx.deadline_ms))
        return (first_order(result, gradient), *(None,) * 5)


def _dtype_of(tensor: Tensor) -> DType:
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        raise field_error(UnsupportedError, "tensor.dtype", tensor.dtype, "float32, bfloat16 or float16")
    if tensor.dim() < 2:
        raise field_error(ShapeMismatchError, "tensor.shape", list(tensor.shape), "at least 2 dimensions")
    return dtype


def _scatter_ranges(splits: Sequence[int] | None, extent: int, owners: int) -> tuple[RowRange, ...] | None:
    if splits is None:
        return None
    if len(splits) != owners or sum(splits) != extent or not all(is_integer(size) and size >= 0 for size in splits):
        expected = f"{owners} non-negative integers, one per owner, with the sum {extent}"
        raise field_error(ShapeMismatchError, "scatter_splits", list(splits), expected)
    return split_ranges(splits)
