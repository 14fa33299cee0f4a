"""What an exchange alone follows from. The same words and refusals as `packages/plan/src/exchange-plan.ts`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import PlanInvalidError, ShapeMismatchError, UlyssesError, UnsupportedError, field_error
from .spec import ELEMENT_BYTES, DType, RowRange
from .split_sizes import require_integer

#: Changes whenever the same spec would mean other bytes in another order.
EXCHANGE_VERSION = 1
#: Other languages count no further.
MAX_SAFE_INTEGER = 2**53 - 1


@dataclass(frozen=True)
class ExchangeSpec:
    """An all-to-all alone, resolved; there are as many owners as ranks.

    Before, owner i holds `gather_ranges[i]` of the gather dimension and the whole scatter dimension; afterwards it has
    the whole gather dimension and `scatter_ranges[i]` of the scatter dimension. Ranges may overlap: then several owners
    get the same part, or hold partial sums of it.
    """

    dtype: DType
    #: Extents with both dimensions whole, as far as they are exchanged; the tensor is dense and row-major.
    shape: tuple[int, ...]
    scatter_dim: int
    gather_dim: int
    scatter_ranges: tuple[RowRange, ...]
    gather_ranges: tuple[RowRange, ...]

    def input_shape(self, owner: int) -> tuple[int, ...]:
        """Extents of what an owner holds before the exchange."""
        return _with_extent(self.shape, self.gather_dim, self.gather_ranges[owner])

    def output_shape(self, owner: int) -> tuple[int, ...]:
        """Extents of what an owner has after it."""
        return _with_extent(self.shape, self.scatter_dim, self.scatter_ranges[owner])


@dataclass(frozen=True)
class ExchangePlan:
    """All that travels of an exchange's plan."""

    plan_id: str
    spec: ExchangeSpec


def verify_exchange_plan(plan: ExchangePlan) -> None:
    """Raises PLAN_INVALID when the spec cannot be planned or the id is not the spec's."""
    try:
        _check_exchange_spec(plan.spec)
    except UlyssesError as error:
        raise PlanInvalidError(f"the plan's spec is wrong: {error.message}", error.details) from error
    expected = exchange_plan_id(plan.spec)
    if plan.plan_id != expected:
        raise field_error(PlanInvalidError, "plan_id", plan.plan_id, f"{expected}, the id of its spec")


def exchange_plan_id(spec: ExchangeSpec) -> str:
    """sha256, in lower-case hexadecimal, of lines as `plan_text` has them: a list comes after its length."""
    lines = [
        f"ulysses_exchange {EXCHANGE_VERSION}",
        f"dtype {spec.dtype}",
        " ".join(map(str, ("shape", len(spec.shape), *spec.shape))),
        f"scatter_dim {spec.scatter_dim}",
        f"gather_dim {spec.gather_dim}",
        f"scatter_ranges {_ranges(spec.scatter_ranges)}",
        f"gather_ranges {_ranges(spec.gather_ranges)}",
    ]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode("ascii")).hexdigest()


def split_ranges(sizes: Sequence[int]) -> tuple[RowRange, ...]:
    """Sizes as ranges that follow each other."""
    ranges, begin = [], 0
    for size in sizes:
        ranges.append(RowRange(begin, begin + size))
        begin += size
    return tuple(ranges)


def _check_exchange_spec(spec: ExchangeSpec) -> None:
    shape, scatter_dim, gather_dim = spec.shape, spec.scatter_dim, spec.gather_dim
    if spec.dtype not in ELEMENT_BYTES:
        raise field_error(UnsupportedError, "dtype", spec.dtype, f"one of {', '.join(ELEMENT_BYTES)}")
    if len(shape) < 2:
        raise field_error(ShapeMismatchError, "shape", shape, "at least 2 dimensions")
    for dim, extent in enumerate(shape):
        require_integer(f"shape[{dim}]", extent, 0)
    if math.prod(shape) * ELEMENT_BYTES[spec.dtype] > MAX_SAFE_INTEGER:
        raise field_error(ShapeMismatchError, "shape", shape, "below 2^53 bytes")
    require_integer("scatter_dim", scatter_dim, 0, len(shape) - 1)
    require_integer("gather_dim", gather_dim, 0, len(shape) - 1)
    if scatter_dim == gather_dim:
        raise field_error(ShapeMismatchError, "scatter_dim", scatter_dim, "another dimension than gather_dim")
    _check_ranges("gather_ranges", spec.gather_ranges, shape[gather_dim])
    _check_ranges("scatter_ranges", spec.scatter_ranges, shape[scatter_dim])
    if len(spec.scatter_ranges) != len(spec.gather_ranges) or not spec.gather_ranges:
        expected = f"one range per owner, {len(spec.gather_ranges)} like gather_ranges and at least 1"
        raise field_error(ShapeMismatchError, "scatter_ranges", spec.scatter_ranges, expected)


def _check_ranges(field: str, ranges: Sequence[RowRange], extent: int) -> None:
    for owner, (begin, end) in enumerate(ranges):
        require_integer(f"{field}[{owner}].begin", begin, 0, extent)
        require_integer(f"{field}[{owner}].end", end, begin, extent)


def _ranges(ranges: Sequence[RowRange]) -> str:
    return " ".join(map(str, (len(ranges), *(f"{begin} {end}" for begin, end in ranges))))


def _with_extent(shape: Sequence[int], dim: int, part: RowRange) -> tuple[int, ...]:
    return (*shape[:dim], part.end - part.begin, *shape[dim + 1 :])
