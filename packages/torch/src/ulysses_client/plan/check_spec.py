"""Which specs can be planned: the same refusals as `packages/plan/src/check-{spec,mask}.ts`."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ..errors import ShapeMismatchError, UnsupportedError, field_error
from .spec import ELEMENT_BYTES, LAYOUTS, STRATEGIES, Mask, RowRange, StepSpec
from .split_sizes import is_integer, require_integer

#: Largest head size that the kernels take.
MAX_HEAD_SIZE = 256
#: Every lane, a query head of a sample, is a unit at least: planning takes time and memory in proportion.
MAX_LANES = 2**16
#: Kernels address rows with int32.
MAX_ROWS = 2**31 - 1


def check_spec(spec: StepSpec, cp_size: int) -> None:
    """Raises SHAPE_MISMATCH for what cannot be planned, UNSUPPORTED for words that are not in their table."""
    require_integer("cp_size", cp_size, 1)
    _require_word("dtype", spec.dtype, tuple(ELEMENT_BYTES))
    _require_word("layout", spec.layout, LAYOUTS)
    _require_word("strategy", spec.strategy, STRATEGIES)
    require_integer("batch", spec.batch, 1)
    require_integer("q_heads", spec.q_heads, 1)
    if spec.batch * spec.q_heads > MAX_LANES:
        expected = f"an integer of at least 1, with batch * q_heads at most {MAX_LANES}"
        raise field_error(ShapeMismatchError, "q_heads", spec.q_heads, expected)
    require_integer("kv_heads", spec.kv_heads, 1)
    if not is_integer(spec.head_size) or not 1 <= spec.head_size <= MAX_HEAD_SIZE:
        expected = f"an integer from 1 to {MAX_HEAD_SIZE}"
        raise field_error(UnsupportedError, "head_size", spec.head_size, expected)
    if spec.q_heads % spec.kv_heads != 0:
        expected = f"a divisor of q_heads, which is {spec.q_heads}"
        raise field_error(ShapeMismatchError, "kv_heads", spec.kv_heads, expected)
    if spec.layout == "thd" and spec.batch != 1:
        expected = "1 in layout thd, whose samples lie on the row axis"
        raise field_error(ShapeMismatchError, "batch", spec.batch, expected)
    s_q, s_kv = _check_splits("q_splits", spec.q_splits), _check_splits("kv_splits", spec.kv_splits)
    if len(spec.kv_splits) != len(spec.q_splits):
        expected = f"one entry per sequence owner, {len(spec.q_splits)} like q_splits"
        raise field_error(ShapeMismatchError, "kv_splits", spec.kv_splits, expected)
    _check_mask(spec.mask, spec.batch, s_q, s_kv)
    if not _is_float32(spec.scale):
        raise field_error(ShapeMismatchError, "scale", spec.scale, "a finite float32 other than -0")
    _check_weights(spec, cp_size)


def _require_word(field: str, value: str, words: Sequence[str]) -> None:
    if value not in words:
        raise field_error(UnsupportedError, field, value, f"one of {', '.join(words)}")


def _check_splits(field: str, splits: Sequence[int]) -> int:
    for index, rows in enumerate(splits):
        require_integer(f"{field}[{index}]", rows, 0, MAX_ROWS)
    if not 1 <= sum(splits) <= MAX_ROWS:
        raise field_error(ShapeMismatchError, field, splits, f"sizes with a sum of 1 to {MAX_ROWS}")
    return sum(splits)


def _is_float32(value: float) -> bool:
    try:
        exact = struct.unpack("<f", struct.pack("<f", value))[0] == value
    except (OverflowError, struct.error):
        return False
    return exact and math.isfinite(value) and not (value == 0 and math.copysign(1, value) < 0)


def _check_weights(spec: StepSpec, cp_size: int) -> None:
    weights = spec.weights
    if weights is None:
        return
    if spec.strategy != "balanced":
        expected = f"none with strategy {spec.strategy}; strategy balanced has them"
        raise field_error(UnsupportedError, "weights", weights, expected)
    legal = all(weight >= 0 and math.copysign(1, weight) > 0 for weight in weights)
    if len(weights) != cp_size or not legal or not 0 < sum(weights) < 2**53:
        expected = f"{cp_size} non-negative numbers, one per rank, with a sum above 0 and below 2^53"
        raise field_error(ShapeMismatchError, "weights", weights, expected)


def _check_mask(mask: Mask, batch: int, s_q: int, s_kv: int) -> None:
    if mask.left is not None:
        require_integer("mask.left", mask.left, 0)
    if mask.right is not None:
        require_integer("mask.right", mask.right, 0)
    segments, ranges = mask.segments, mask.valid_ranges
    if segments is not None and ranges is not None:
        expected = "None, because mask.segments is given"
        raise field_error(ShapeMismatchError, "mask.valid_ranges", ranges, expected)
    if segments is not None:
        if batch != 1:
            raise field_error(ShapeMismatchError, "batch", batch, "1, because mask.segments is given")
        _check_running_sums("mask.segments.cu_seqlens_q", segments.cu_seqlens_q, s_q)
        _check_running_sums("mask.segments.cu_seqlens_kv", segments.cu_seqlens_kv, s_kv)
        if len(segments.cu_seqlens_kv) != len(segments.cu_seqlens_q):
            expected = f"{len(segments.cu_seqlens_q)} entries, like cu_seqlens_q"
            raise field_error(ShapeMismatchError, "mask.segments.cu_seqlens_kv", segments.cu_seqlens_kv, expected)
    if ranges is not None:
        _check_ranges("mask.valid_ranges.q", ranges.q, batch, s_q)
        _check_ranges("mask.valid_ranges.kv", ranges.kv, batch, s_kv)


def _check_running_sums(field: str, sums: Sequence[int], rows: int) -> None:
    if len(sums) < 2:
        raise field_error(ShapeMismatchError, field, sums, "one entry more than there are segments")
    if sums[0] != 0:
        raise field_error(ShapeMismatchError, f"{field}[0]", sums[0], "0")
    for index in range(1, len(sums)):
        require_integer(f"{field}[{index}]", sums[index], sums[index - 1])
    if sums[-1] != rows:
        expected = f"{rows}, the sum of the splits"
        raise field_error(ShapeMismatchError, f"{field}[{len(sums) - 1}]", sums[-1], expected)


def _check_ranges(field: str, ranges: Sequence[RowRange], batch: int, rows: int) -> None:
    if len(ranges) != batch:
        raise field_error(ShapeMismatchError, field, ranges, f"one range per sample, {batch}")
    for sample, (begin, end) in enumerate(ranges):
        require_integer(f"{field}[{sample}].begin", begin, 0, rows)
        require_integer(f"{field}[{sample}].end", end, begin, rows)
