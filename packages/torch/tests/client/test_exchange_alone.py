"""The all-to-all alone through a real cluster of 3 ranks, from plain arrays: slices of the whole, and back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster import TestCluster
from ulysses_client.attention_step import start_call
from ulysses_client.cluster import Cluster, connect
from ulysses_client.errors import PlanInvalidError, ShapeMismatchError, StepMismatchError, UlyssesError
from ulysses_client.exchange.tensor_exchange import PartialSums, exchange_sends, place_exchanged
from ulysses_client.exchange_step import ExchangeCall, ExchangeOutcome, ReverseCall, run_exchange, run_reverse
from ulysses_client.plan import (
    ELEMENT_BYTES,
    DType,
    ExchangePlan,
    ExchangeSpec,
    RowRange,
    exchange_plan_id,
    kv_head_of_q_head,
    route_heads,
    split_ranges,
    split_sizes,
    verify_exchange_plan,
)
from ulysses_client.wire.convert import ExchangeView
from ulysses_client.wire.slices import place_payload

OWNERS = 3
over_both_paths = pytest.mark.usefixtures("data_path")


def owners(cluster: TestCluster, session: str, run: Callable[[Cluster, int], object]) -> list[object]:
    def owner(index: int) -> object:
        with connect(
            cluster.address, session=session, owner_index=index, owner_count=OWNERS, deadline_ms=20_000
        ) as connection:
            return run(connection, index)

    with ThreadPoolExecutor(OWNERS) as pool:
        return list(pool.map(owner, range(OWNERS)))


def dense(shape: tuple[int, ...], element_bytes: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (*shape, element_bytes), np.uint8)


def cut(tensor: np.ndarray, dim: int, part: RowRange) -> np.ndarray:
    return np.ascontiguousarray(np.take(tensor, range(*part), axis=dim))


def view_of(shard: np.ndarray, dtype: DType, scatter_dim: int, gather_dim: int, **changes: object) -> ExchangeView:
    fields = {"gather_size": None, "aligned": False, "scatter_ranges": None, "gather_ranges": None, "purpose": None}
    return ExchangeView(dtype, shard.shape[:-1], scatter_dim, gather_dim, **{**fields, **changes})


def exchange(connection: Cluster, shard: np.ndarray, view: ExchangeView) -> ExchangeOutcome:
    started = start_call(connection)
    return run_exchange(connection, started.key, ExchangeCall(view, shard), started.limits)


@over_both_paths
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("shape", [(5, 9), (4, 7, 5, 2), (2, 900, 3, 400)])
def test_forward_is_slices_of_the_whole_and_reverse_gives_every_bit_back(
    cluster: TestCluster, shape: tuple[int, ...], dtype: DType
) -> None:
    whole = dense(shape, ELEMENT_BYTES[dtype])

    def run(connection: Cluster, owner: int) -> None:
        for scatter_dim, gather_dim in permutations(range(len(shape)), 2):
            held = split_ranges(split_sizes(shape[gather_dim], OWNERS))[owner]
            gets = split_ranges(split_sizes(shape[scatter_dim], OWNERS))[owner]
            shard = cut(whole, gather_dim, held)
            forward = exchange(connection, shard, view_of(shard, dtype, scatter_dim, gather_dim))
            assert (forward.result == cut(whole, scatter_dim, gets)).all()
            started = start_call(connection)
            back = ReverseCall(dtype, shard.shape[gather_dim])
            reverse = run_reverse(connection, started.key, forward.spec, forward.result, back, started.limits)
            assert (reverse.result == shard).all()

    owners(cluster, f"pairs-{shape}-{dtype}", run)


@over_both_paths
def test_uneven_shards_rows_beyond_the_gather_size_and_parts_of_ones_own(cluster: TestCluster) -> None:
    whole = dense((10, 7, 3), 4)
    splits, parts = split_ranges([6, 0, 4]), split_ranges([0, 5, 2])

    def run(connection: Cluster, owner: int) -> None:
        shard = cut(whole, 0, splits[owner])
        forward = exchange(connection, shard, view_of(shard, "f32", 1, 0, gather_size=8, scatter_ranges=parts))
        assert (forward.result == cut(whole[:8], 1, parts[owner])).all()
        started = start_call(connection)
        back = ReverseCall("f32", shard.shape[0])
        reverse = run_reverse(connection, started.key, forward.spec, forward.result, back, started.limits).result
        kept = max(0, min(8, splits[owner].end) - splits[owner].begin)
        assert (reverse[:kept] == shard[:kept]).all()
        assert not reverse[kept:].any()

    owners(cluster, "uneven", run)


@over_both_paths
@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_shared_parts_come_back_as_sums_in_owner_order(cluster: TestCluster, dtype: DType) -> None:
    # 5 query heads of 2 KV heads on 3 owners: owners 0 and 1 both read KV head 0, 1 and 2 both read KV head 1.
    parts = (RowRange(0, 1), RowRange(0, 2), RowRange(1, 2))
    gradients = [
        np.random.default_rng(owner).standard_normal((6, part.end - part.begin, 4), np.float32)
        for owner, part in enumerate(parts)
    ]

    def run(connection: Cluster, owner: int) -> np.ndarray:
        shard = dense((2, 2, 4), ELEMENT_BYTES[dtype])
        forward = exchange(connection, shard, view_of(shard, dtype, 1, 0, scatter_ranges=parts))
        partial = gradients[owner].view(np.uint8).reshape(*gradients[owner].shape, 4)
        started = start_call(connection)
        back = ReverseCall("f32", 2, "dk", fold_to=dtype)
        return run_reverse(connection, started.key, forward.spec, partial, back, started.limits).result

    results = np.concatenate(owners(cluster, f"shared-{dtype}", run))
    first = gradients[0][:, 0] + gradients[1][:, 0]
    second = gradients[1][:, 1] + gradients[2][:, 0]
    want = np.stack([first, second], axis=1)
    if dtype == "f32":
        assert (results.reshape(6, 2, 16) == want.view(np.uint8).reshape(6, 2, 16)).all()
    elif dtype == "f16":
        assert (results.reshape(6, 2, 8) == want.astype(np.float16).view(np.uint8).reshape(6, 2, 8)).all()
    else:
        got = results.view(np.uint16).reshape(6, 2, 4).astype(np.uint32) << 16
        np.testing.assert_allclose(got.view(np.float32), want, rtol=2**-8)


def test_owners_that_mean_different_exchanges_hear_who_and_what(cluster: TestCluster) -> None:
    def run(connection: Cluster, owner: int) -> UlyssesError:
        shard = dense((4, 6), 4)
        with pytest.raises(StepMismatchError) as refused:
            exchange(connection, shard, view_of(shard, "f32", 1, 0, purpose="k" if owner == 2 else "q"))
        return refused.value

    for error in owners(cluster, "different", run):
        assert (error.field, error.peer) == ("purpose", "owner 2")


def test_an_exchange_of_other_owners_than_ranks_is_refused(cluster: TestCluster) -> None:
    shard = dense((4, 6), 4)
    with connect(cluster.address) as connection, pytest.raises(ShapeMismatchError) as refused:
        exchange(connection, shard, view_of(shard, "f32", 1, 0))
    assert refused.value.field == "owner_count"


def test_the_plan_id_is_the_coordinators_and_another_is_refused(cluster: TestCluster) -> None:
    def run(connection: Cluster, owner: int) -> ExchangePlan:
        shard = dense((4, 6), 4)
        plan = exchange(connection, shard, view_of(shard, "f32", 1, 0)).step.planned.plan
        assert isinstance(plan, ExchangePlan)
        return plan

    plan, *_ = owners(cluster, "plan-id", run)
    assert isinstance(plan, ExchangePlan)
    assert plan.plan_id == exchange_plan_id(plan.spec)
    with pytest.raises(PlanInvalidError) as refused:
        verify_exchange_plan(ExchangePlan("0" * 64, plan.spec))
    assert refused.value.field == "plan_id"


@st.composite
def specs(draw: st.DrawFn) -> ExchangeSpec:
    """Gather ranges follow each other; scatter ranges may overlap."""
    count = draw(st.integers(1, 4))
    shape = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    scatter_dim, gather_dim = draw(st.permutations(range(len(shape))))[:2]
    cuts = sorted(draw(st.lists(st.integers(0, shape[gather_dim]), min_size=count - 1, max_size=count - 1)))
    held = split_ranges([end - begin for begin, end in zip([0, *cuts], [*cuts, shape[gather_dim]], strict=True)])
    edges = st.tuples(*[st.integers(0, shape[scatter_dim])] * 2).map(sorted)
    gets = tuple(RowRange(*draw(edges)) for _ in range(count))
    return ExchangeSpec(draw(st.sampled_from(["f32", "bf16"])), tuple(shape), scatter_dim, gather_dim, gets, held)


def deliver(spec: ExchangeSpec, shards: list[np.ndarray], receives: list[list[object]]) -> None:
    """What the wire does: every send's bytes, in order, into the receive that names the same pair."""
    for source, shard in enumerate(shards):
        sends = {send.rank: send.rows for send in exchange_sends(spec, source, shard)}
        expected = {to: each for to, wanted in enumerate(receives) for each in wanted if each.rank == source}
        assert sends.keys() == expected.keys()
        for to, rows in sends.items():
            place_payload(expected[to].rows, 0, np.ascontiguousarray(rows).reshape(-1))


@given(specs())
def test_every_owner_gets_its_part_of_the_whole_and_sums_are_what_was_given(spec: ExchangeSpec) -> None:
    verify_exchange_plan(ExchangePlan(exchange_plan_id(spec), spec))
    count = len(spec.gather_ranges)
    whole = dense(spec.shape, ELEMENT_BYTES[spec.dtype])
    shards = [cut(whole, spec.gather_dim, part) for part in spec.gather_ranges]
    landings = [place_exchanged(spec, owner, shards[owner]) for owner in range(count)]
    deliver(spec, shards, [landing.receives for landing in landings])
    for owner, part in enumerate(spec.scatter_ranges):
        assert (landings[owner].result == cut(whole, spec.scatter_dim, part)).all()
    # The way back, of ones: every row is summed as often as owners got it.
    back = ExchangeSpec("f32", spec.shape, spec.gather_dim, spec.scatter_dim, spec.gather_ranges, spec.scatter_ranges)
    ones = [np.ones(back.input_shape(owner), np.float32) for owner in range(count)]
    bits = [each.view(np.uint8).reshape(*each.shape, 4) for each in ones]
    sums = [PartialSums(back, owner, bits[owner]) for owner in range(count)]
    deliver(back, bits, [each.receives for each in sums])
    holders = np.zeros(spec.shape[spec.scatter_dim], np.float32)
    for begin, end in spec.scatter_ranges:
        holders[begin:end] += 1
    for owner in range(count):
        result = sums[owner].sum("f32")
        got = result.view(np.float32).reshape(result.shape[:-1])
        along = [1] * len(spec.shape)
        along[spec.scatter_dim] = -1
        assert (got == holders.reshape(along)).all()


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 9))
def test_every_query_head_is_routed_once_with_exactly_the_kv_heads_that_are_read(
    kv_heads: int, group: int, count: int
) -> None:
    heads = kv_heads * group
    routing = route_heads(heads, kv_heads, count)
    assert [head for part in routing.q_heads for head in range(*part)] == list(range(heads))
    for q, kv in zip(*routing, strict=True):
        reads = kv_head_of_q_head(q, kv, group)
        assert sorted(set(reads)) == list(range(kv.end - kv.begin))
        assert [head + kv.begin for head in reads] == [head // group for head in range(*q)]
