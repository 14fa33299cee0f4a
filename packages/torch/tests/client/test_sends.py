"""In which order an owner's rows leave: granule by granule, so that ranks compute while later rows are on their way."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ulysses_client.exchange.owner_exchange import OwnerExchange, Send, backward_sends, forward_sends, owner_exchange
from ulysses_client.plan import ELEMENT_BYTES, Plan
from ulysses_client.wire.slices import Bytes

from .test_vectors import VECTORS, each_vector, plan_of


def shard(rows: int, heads: int, plan: Plan) -> Bytes:
    """Of no memory: only its shape matters."""
    spec = plan.spec
    shape = (rows, spec.batch, heads, spec.head_size * ELEMENT_BYTES[spec.dtype])
    return np.broadcast_to(np.uint8(0), shape)


def sends_of(exchange: OwnerExchange, passing: str) -> list[Send]:
    spec = exchange.plan.spec
    q = shard(spec.q_splits[exchange.owner], spec.q_heads, exchange.plan)
    kv = shard(spec.kv_splits[exchange.owner], spec.kv_heads, exchange.plan)
    return (
        forward_sends(exchange, q, kv, kv) if passing == "forward" else backward_sends(exchange, q, {"q": q, "k": kv})
    )


@each_vector
@pytest.mark.parametrize(("passing", "tensors"), [("forward", ("q", "kv")), ("backward", (("q", "dout"), "k"))])
def test_every_row_of_every_segment_leaves_once_and_in_order(
    vector: dict[str, Any], passing: str, tensors: tuple[tuple[str, ...], str]
) -> None:
    plan = plan_of(vector)
    for owner in range(len(plan.spec.q_splits)):
        exchange = owner_exchange(plan, owner)
        left: dict[tuple[int, str, int], int] = defaultdict(int)
        for send in sends_of(exchange, passing):
            assert send.part.begin == left[send[:3]] < send.part.end
            left[send[:3]] = send.part.end
        q_like, kv_like = tensors
        assert left == {
            (rank, tensor, number): segment.rows
            for rank, pair in enumerate(exchange.by_rank)
            for like, segments in ((q_like, pair.q), (kv_like, pair.kv))
            for tensor in like
            for number, segment in enumerate(segments)
        }


@each_vector
def test_what_a_granule_reads_has_left_when_its_rows_leave(vector: dict[str, Any]) -> None:
    plan = plan_of(vector)
    for owner in range(len(plan.spec.q_splits)):
        exchange = owner_exchange(plan, owner)
        keys: dict[tuple[int, str, int], int] = defaultdict(int)
        done: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for rank, tensor, number, _, part in sends_of(exchange, "forward"):
            pair, table = exchange.by_rank[rank], exchange.tables[rank]
            if tensor != "q":
                place = pair.kv[number].place
                keys[rank, tensor, place] = pair.kv[number].begin + part.end
                continue
            segment = pair.q[number]
            begin, end = segment.begin + part.begin, segment.begin + part.end
            granule = next(
                each
                for each in exchange.granules[rank]
                if each.unit == segment.place and each.q_begin <= begin < each.q_end
            )
            assert end <= granule.q_end
            done[rank].append((granule.unit, begin))
            for segment in pair.kv if granule.keys is not None else ():
                if segment.place == table.kv_interval_of_unit[granule.unit]:
                    for name in "kv":
                        assert keys[rank, name, segment.place] >= min(segment.end, max(segment.begin, granule.keys.end))
        assert all(order == sorted(order) for order in done.values())


def test_long_units_leave_in_pieces_and_keys_no_sooner_than_a_piece_reads_them() -> None:
    long = next(plan_of(vector) for vector in VECTORS if vector["name"].startswith("28 heads"))
    whole = replace(long.spec, q_splits=(sum(long.spec.q_splits),), kv_splits=(sum(long.spec.kv_splits),))
    exchange = owner_exchange(replace(long, spec=whole), 0)
    read: dict[tuple[int, int], int] = defaultdict(int)
    pieces = 0
    for rank, tensor, number, _, part in reversed(sends_of(exchange, "forward")):
        pair, table = exchange.by_rank[rank], exchange.tables[rank]
        if tensor == "q":
            # Causal: a piece reads the keys up to its own end.
            unit, end = pair.q[number].place, pair.q[number].begin + part.end
            read[rank, table.kv_interval_of_unit[unit]] = end
            pieces += 1
        else:
            segment = pair.kv[number]
            assert segment.begin + part.end == read[rank, segment.place]
    assert pieces > 2 * sum(len(table.units) for table in exchange.tables)


@each_vector
def test_ranks_get_their_first_rows_in_turn(vector: dict[str, Any]) -> None:
    """No rank waits until another's rows are sent."""
    plan = plan_of(vector)
    for owner in range(len(plan.spec.q_splits)):
        exchange = owner_exchange(plan, owner)
        sends = sends_of(exchange, "forward")
        busy = {send.rank for send in sends}
        assert {send.rank for send in sends[: len(busy)]} == busy
