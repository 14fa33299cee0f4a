"""How extents are cut into shards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ..errors import ShapeMismatchError, field_error


def split_sizes(total: int, parts: int) -> list[int]:
    """Cuts `total` into `parts`: floor(total / parts) each, and the remainder goes one each to the lowest indices."""
    if not is_integer(total) or total < 0:
        raise field_error(ShapeMismatchError, "total", total, "a non-negative integer")
    if not is_integer(parts) or parts < 1:
        raise field_error(ShapeMismatchError, "parts", parts, "a positive integer")
    size, remainder = divmod(total, parts)
    return [size + 1 if part < remainder else size for part in range(parts)]


def split_offsets(splits: Sequence[int]) -> list[int]:
    """Where every split begins on the whole extent; one more entry holds the sum."""
    return [0, *accumulate(splits)]


def is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def require_integer(field: str, value: object, low: int, high: int | None = None) -> None:
    """Raises SHAPE_MISMATCH unless `value` is an integer from `low` to `high`."""
    if isinstance(value, int) and is_integer(value) and value >= low and (high is None or value <= high):
        return
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    raise field_error(ShapeMismatchError, field, value, expected)
