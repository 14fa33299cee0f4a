"""What everyone who is handed a plan does before acting on it."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence

from ..errors import PlanInvalidError, UlyssesError, field_error
from .check_spec import check_spec
from .spec import Plan, RowRange, StepSpec
from .split_sizes import is_integer, split_offsets, split_sizes

#: Changes whenever the same spec and cuts would mean other units, KV intervals or segments.
PLANNER_VERSION = 1


def verify_plan(plan: Plan) -> None:
    """Raises PLAN_INVALID when the spec cannot be planned, the cuts are not legal or the id is not theirs."""
    try:
        check_spec(plan.spec, plan.cp_size)
    except UlyssesError as error:
        raise PlanInvalidError(f"the plan's spec is wrong: {error.message}", error.details) from error
    _check_cuts(plan)
    expected = plan_id_of(plan.spec, plan.cp_size, plan.cuts)
    if plan.plan_id != expected:
        raise field_error(PlanInvalidError, "plan_id", plan.plan_id, f"{expected}, the id of its spec and cuts")


def plan_id_of(spec: StepSpec, cp_size: int, cuts: Sequence[int]) -> str:
    """sha256, in lower-case hexadecimal, of `plan_text` in ASCII."""
    return hashlib.sha256(plan_text(spec, cp_size, cuts).encode("ascii")).hexdigest()


def plan_text(spec: StepSpec, cp_size: int, cuts: Sequence[int]) -> str:
    """Lines `name value` in a fixed order; `packages/plan/src/plan-id.ts` has the rules."""
    mask = spec.mask
    segments, ranges = mask.segments, mask.valid_ranges
    lines = {
        "ulysses_plan": PLANNER_VERSION,
        "dtype": spec.dtype,
        "layout": spec.layout,
        "batch": spec.batch,
        "q_heads": spec.q_heads,
        "kv_heads": spec.kv_heads,
        "head_size": spec.head_size,
        "q_splits": _list(spec.q_splits),
        "kv_splits": _list(spec.kv_splits),
        "mask_left": "-" if mask.left is None else mask.left,
        "mask_right": "-" if mask.right is None else mask.right,
        "cu_seqlens_q": "-" if segments is None else _list(segments.cu_seqlens_q),
        "cu_seqlens_kv": "-" if segments is None else _list(segments.cu_seqlens_kv),
        "valid_q": "-" if ranges is None else _list([_range(each) for each in ranges.q]),
        "valid_kv": "-" if ranges is None else _list([_range(each) for each in ranges.kv]),
        "scale": _float64_hex(spec.scale),
        "strategy": spec.strategy,
        "weights": "-" if spec.weights is None else _list([_float64_hex(weight) for weight in spec.weights]),
        "cp_size": cp_size,
        "cuts": _list(cuts),
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def head_cuts(spec: StepSpec, cp_size: int) -> list[int]:
    """Cuts of strategy `heads`: whole heads, `split_sizes(q_heads, cp_size)`; a rank without a head idles."""
    length = spec.batch * sum(spec.q_splits)
    return [head * length for head in split_offsets(split_sizes(spec.q_heads, cp_size))]


def _check_cuts(plan: Plan) -> None:
    spec, cp_size, cuts = plan.spec, plan.cp_size, plan.cuts
    if len(cuts) != cp_size + 1:
        raise field_error(PlanInvalidError, "cuts", cuts, f"{cp_size + 1} positions, one more than ranks")
    length = spec.batch * spec.q_heads * sum(spec.q_splits)
    if cuts[0] != 0:
        raise field_error(PlanInvalidError, "cuts[0]", cuts[0], "0")
    if cuts[-1] != length:
        raise field_error(PlanInvalidError, f"cuts[{cp_size}]", cuts[-1], f"{length}, the rows of all heads")
    for index in range(1, len(cuts)):
        if not is_integer(cuts[index]) or cuts[index] < cuts[index - 1]:
            expected = f"an integer of at least {cuts[index - 1]}"
            raise field_error(PlanInvalidError, f"cuts[{index}]", cuts[index], expected)
    if spec.strategy == "heads":
        for index, expected_cut in enumerate(head_cuts(spec, cp_size)):
            if cuts[index] != expected_cut:
                expected = f"{expected_cut}, with strategy heads"
                raise field_error(PlanInvalidError, f"cuts[{index}]", cuts[index], expected)


def _list(entries: Sequence[int] | Sequence[str]) -> str:
    return " ".join(str(entry) for entry in (len(entries), *entries))


def _range(each: RowRange) -> str:
    return f"{each.begin} {each.end}"


def _float64_hex(value: float) -> str:
    return struct.pack("<d", value).hex()


def float32(value: float) -> float:
    """The float32 nearest to a scale, as a float; scales travel so."""
    if not math.isfinite(value):
        return value
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded
