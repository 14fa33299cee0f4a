"""Tables against the definition of masks, on random specs."""

import dataclasses
from itertools import accumulate
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulysses_client.errors import ShapeMismatchError, UnsupportedError
from ulysses_client.plan import (
    DefaultGatherSizeCalculator,
    DynamicGatherSizeCalculator,
    GatherSizeCalculator,
    Mask,
    Plan,
    RowRange,
    Segments,
    StepSpec,
    ValidRanges,
    classify_mask,
    custom_gather_size,
    pair_segments,
    plan_id_of,
    rank_tables,
    split_sizes,
    verify_plan,
    visible_keys,
)

bounds = st.none() | st.integers(0, 12)


@st.composite
def specs(draw: st.DrawFn) -> StepSpec:
    owners = draw(st.integers(1, 4))
    kv_heads = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["plain", "segments", "ranges"]))
    batch = 1 if kind == "segments" else draw(st.integers(1, 3))
    rows = st.lists(st.integers(0, 9), min_size=owners, max_size=owners).filter(any)
    q_splits, kv_splits = tuple(draw(rows)), tuple(draw(rows))
    s_q, s_kv = sum(q_splits), sum(kv_splits)
    segments = ranges = None
    if kind == "segments":
        count = draw(st.integers(1, 4))

        def sums(total: int) -> tuple[int, ...]:
            cuts = sorted(draw(st.lists(st.integers(0, total), min_size=count - 1, max_size=count - 1)))
            return (0, *cuts, total)

        segments = Segments(sums(s_q), sums(s_kv))
    if kind == "ranges":

        def each(total: int) -> tuple[RowRange, ...]:
            pairs = st.tuples(st.integers(0, total), st.integers(0, total)).map(sorted)
            return tuple(RowRange(*draw(pairs)) for _ in range(batch))

        ranges = ValidRanges(each(s_q), each(s_kv))
    mask = Mask(draw(bounds), draw(bounds), segments, ranges)
    heads = kv_heads * draw(st.integers(1, 3))
    return StepSpec("f32", "sbhd", batch, heads, kv_heads, 4, q_splits, kv_splits, mask, 0.5, "balanced")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    spec = draw(specs())
    cp_size = draw(st.integers(1, 5))
    length = spec.batch * spec.q_heads * sum(spec.q_splits)
    inner = sorted(draw(st.lists(st.integers(0, length), min_size=cp_size - 1, max_size=cp_size - 1)))
    cuts = (0, *inner, length)
    return Plan(plan_id_of(spec, cp_size, cuts), cp_size, spec, cuts)


def sees(spec: StepSpec, batch: int, row: int, key: int) -> bool:
    """The definition of the mask algebra, word by word."""
    mask = spec.mask
    diagonal = row + sum(spec.kv_splits) - sum(spec.q_splits)
    if mask.segments is not None:
        cu_q, cu_kv = mask.segments.cu_seqlens_q, mask.segments.cu_seqlens_kv
        segment = next(i for i in range(len(cu_q) - 1) if cu_q[i] <= row < cu_q[i + 1])
        if not cu_kv[segment] <= key < cu_kv[segment + 1]:
            return False
        diagonal = row - cu_q[segment + 1] + cu_kv[segment + 1]
    if mask.valid_ranges is not None:
        q, kv = mask.valid_ranges.q[batch], mask.valid_ranges.kv[batch]
        if not (q.begin <= row < q.end and kv.begin <= key < kv.end):
            return False
    left = mask.left is None or diagonal - mask.left <= key
    right = mask.right is None or key <= diagonal + mask.right
    return left and right


def dense(spec: StepSpec) -> np.ndarray:
    """Bool [b, 1, s_q, s_kv]."""
    shape = (spec.batch, 1, sum(spec.q_splits), sum(spec.kv_splits))
    return np.array([sees(spec, b, row, key) for b, _, row, key in np.ndindex(shape)]).reshape(shape)


@given(plans())
@settings(max_examples=150, deadline=None)
def test_every_row_is_in_one_unit_and_units_get_the_keys_they_see(plan: Plan) -> None:
    verify_plan(plan)
    spec = plan.spec
    seen = dense(spec)
    rows = np.zeros((spec.batch, spec.q_heads, sum(spec.q_splits)), int)
    for table in rank_tables(plan):
        for unit, interval in zip(table.units, table.kv_interval_of_unit, strict=True):
            rows[unit.batch, unit.q_head, unit.q_begin : unit.q_end] += 1
            keys = np.flatnonzero(seen[unit.batch, 0, unit.q_begin : unit.q_end].any(axis=0))
            if keys.size == 0:
                assert interval == -1
                continue
            got = table.kv_intervals[interval]
            assert (got.batch, got.kv_head) == (unit.batch, unit.q_head * spec.kv_heads // spec.q_heads)
            assert got.begin <= keys[0]
            assert keys[-1] < got.end
    assert (rows == 1).all()


@given(plans())
@settings(max_examples=100, deadline=None)
def test_owners_segments_add_up_to_the_tables(plan: Plan) -> None:
    offsets = [0, *accumulate(plan.spec.q_splits)]
    for table in rank_tables(plan):
        pairs = [pair_segments(plan, table, owner) for owner in range(len(plan.spec.q_splits))]
        for owner, pair in enumerate(pairs):
            assert all(offsets[owner] <= each.begin < each.end <= offsets[owner + 1] for each in pair.q)
        assert sum(s.rows for pair in pairs for s in pair.q) == sum(u.q_end - u.q_begin for u in table.units)
        assert sum(s.rows for pair in pairs for s in pair.kv) == sum(i.end - i.begin for i in table.kv_intervals)


@given(specs())
@settings(max_examples=200, deadline=None)
def test_a_mask_tensor_is_said_exactly_or_refused(spec: StepSpec) -> None:
    seen = dense(spec)
    try:
        mask = classify_mask(seen, spec.batch, *seen.shape[2:])
    except UnsupportedError:
        assert spec.mask.segments is not None or spec.mask.valid_ranges is not None or spec.batch > 1
        return
    assert (dense(dataclasses.replace(spec, mask=mask)) == seen).all()
    begin, end = visible_keys(spec, 0)
    assert ((end - begin) == seen[0, 0].sum(axis=1)).all()


def test_a_mask_with_a_hole_is_refused_by_row() -> None:
    seen = np.tril(np.ones((1, 1, 6, 6), bool))
    seen[0, 0, 4, 2] = False
    with pytest.raises(UnsupportedError, match="row 4 does not see key 2"):
        classify_mask(seen, 1, 6, 6)


def test_left_and_right_padding_become_ranges() -> None:
    mask = classify_mask(np.array([[0, 0, 1, 1], [1, 1, 1, 0]]), 2, 4, 4)
    assert mask == Mask(valid_ranges=ValidRanges(((2, 4), (0, 3)), ((2, 4), (0, 3))))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeMismatchError) as refused:
        classify_mask(np.ones((2, 5)), 2, 4, 4)
    assert refused.value.expected == "[4], [2, 4] or [2, 1, 4, 4]"


@given(st.integers(0, 1000), st.integers(1, 20))
def test_remainder_rows_go_to_the_lowest_ranks(total: int, parts: int) -> None:
    sizes = split_sizes(total, parts)
    assert sum(sizes) == total
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@pytest.mark.parametrize("arguments", [(-1, 2), (1.5, 2), (4, 0), (True, 2)])
def test_splits_of_no_integers_are_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(ShapeMismatchError):
        split_sizes(*arguments)


class TestGatherSizes:
    known: ClassVar[dict[str, object]] = {"tensor": "q", "shard_rows": [5, 3], "layout": "sbhd"}

    def test_default_is_aligned(self) -> None:
        assert DefaultGatherSizeCalculator().calculate(**self.known) is None

    def test_dynamic_prefers_the_mask_then_lengths_then_rows(self) -> None:
        dynamic = DynamicGatherSizeCalculator()
        assert dynamic.calculate(**self.known, attention_mask_extent=6, attention_mask_lengths=[4]) == 6
        assert dynamic.calculate(**self.known, attention_mask_lengths=[4, 7]) == 7
        assert dynamic.calculate(**{**self.known, "layout": "thd"}, attention_mask_lengths=[4, 3]) == 7
        assert dynamic.calculate(**self.known) == 8

    def test_kwargs_reach_a_calculator_of_ones_own_untouched(self) -> None:
        class FromKwargs(GatherSizeCalculator):
            def calculate(self, *args: object, **kwargs: object) -> int | None:
                size = kwargs.get("gather_size")
                assert size is None or isinstance(size, int)
                return size

        assert custom_gather_size(FromKwargs(), (), {"gather_size": 7}, self.known) == 7
        assert custom_gather_size(FromKwargs(), (), {}, self.known) is None
        with pytest.raises(ShapeMismatchError) as refused:
            custom_gather_size(FromKwargs(), (), {"gather_size": 0}, self.known)
        assert (refused.value.details["calculator"], refused.value.value) == ("FromKwargs", "0")
        with pytest.raises(ShapeMismatchError):
            custom_gather_size(FromKwargs(), (), {"gather_size": "7"}, self.known)
