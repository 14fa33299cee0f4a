"""Partial sums become gradients in rank order, rounded once."""

import numpy as np
import pytest

from ulysses_client.exchange.fold_partials import GradientFold, fold_runs, store_rounded
from ulysses_client.exchange.owner_exchange import owner_exchange
from ulysses_client.plan import DType, Mask, Plan, StepSpec, plan_id_of

from .test_vectors import VECTORS, plan_of


def plan(dtype: DType, cuts: tuple[int, ...]) -> Plan:
    spec = StepSpec(dtype, "sbhd", 1, 4, 2, 2, (5,), (5,), Mask(right=0), 1.0, "balanced")
    return Plan(plan_id_of(spec, len(cuts) - 1, cuts), len(cuts) - 1, spec, cuts)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_shared_rows_are_summed_in_rank_order_whatever_arrives_first(dtype: DType) -> None:
    exchange = owner_exchange(plan(dtype, (0, 3, 8, 20)), 0)
    dk, dv = (np.zeros((5, 1, 2, 2 * (4 if dtype == "f32" else 2)), np.uint8) for _ in range(2))
    fold = GradientFold(exchange, dk, dv)
    # 1e8 + 1 - 1e8 depends on the order; KV head 0 is shared by ranks 0, 1 and 2.
    value = {0: 1e8, 1: -1e8, 2: 1.0}
    for receive in reversed(fold.receives):
        receive.rows[:] = np.full((receive.rows.shape[0], 2), value[receive.rank], np.float32).view(np.uint8)
    fold.finish()
    got = as_float(dtype, dk)
    # Rows 0 to 2 come from all three ranks, the others of head 0 from ranks 1 and 2, head 1 from rank 2 alone.
    assert (got[:3, 0, 0] == 1.0).all()
    expected = np.float32(-1e8) + np.float32(1)
    assert (got[3:, 0, 0] == rounded(dtype, np.full((2, 2), expected, np.float32))).all()
    assert (got[:, 0, 1] == 1.0).all()
    assert (as_float(dtype, dv) == got).all()


def test_a_float32_segment_of_one_rank_arrives_in_its_place() -> None:
    exchange = owner_exchange(plan("f32", (0, 10, 20)), 0)
    dk, dv = (np.zeros((5, 1, 2, 8), np.uint8) for _ in range(2))
    for receive in GradientFold(exchange, dk, dv).receives:
        assert np.shares_memory(receive.rows, dk if receive.tensor == "dk" else dv)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_partial_row_is_in_exactly_one_run(vector: dict[str, object]) -> None:
    exchanged = plan_of(vector)
    for owner in range(len(exchanged.spec.q_splits)):
        exchange = owner_exchange(exchanged, owner)
        runs = fold_runs(exchange)
        assert sum((run.end - run.begin) * len(run.sources) for run in runs) == sum(
            segment.rows for pair in exchange.by_rank for segment in pair.kv
        )
        assert all(list(run.sources) == sorted(run.sources) for run in runs)


def test_bf16_rounds_to_nearest_ties_to_even_and_keeps_nan() -> None:
    values = np.array([[1.0, 1.00390625, 1.01171875, -1.004, 3.4e38, np.inf, -np.inf, np.nan]], np.float32)
    rows = np.zeros((1, 16), np.uint8)
    store_rounded("bf16", values, rows)
    bits = rows.view(np.uint16)[0]
    assert [hex(each) for each in bits] == [
        "0x3f80",
        "0x3f80",
        "0x3f82",
        "0xbf81",
        "0x7f80",
        "0x7f80",
        "0xff80",
        "0x7fc0",
    ]


def as_float(dtype: DType, shard: np.ndarray) -> np.ndarray:
    if dtype == "f32":
        return shard.view(np.float32)
    if dtype == "f16":
        return shard.view(np.float16).astype(np.float32)
    return (shard.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def rounded(dtype: DType, values: np.ndarray) -> np.ndarray:
    rows = np.zeros((values.shape[0], values.shape[1] * (4 if dtype == "f32" else 2)), np.uint8)
    store_rounded(dtype, values, rows)
    return as_float(dtype, rows)
