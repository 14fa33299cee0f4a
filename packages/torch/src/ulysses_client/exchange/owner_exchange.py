"""Which rows of an owner's shard go to whom, and where what comes back belongs.

A shard is uint8 [rows, batch, heads, row_bytes] of any stride, whatever the layout and dtype of the step. Rows beyond
the gather size belong to no segment: they are not sent, and stay zero in results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from ..plan import PairSegments, Plan, RankTable, Segment, pair_segments, rank_tables
from ..wire.slices import Bytes


@dataclass(frozen=True)
class OwnerExchange:
    plan: Plan
    owner: int
    #: Whole-sequence row of the shard's first row.
    q_begin: int
    kv_begin: int
    tables: tuple[RankTable, ...]
    #: Segments between this owner and every rank, in rank order.
    by_rank: tuple[PairSegments, ...]

    def q_rows(self, shard: Bytes, segment: Segment) -> Bytes:
        """A segment's rows of a q-like shard: uint8 [rows, row_bytes], a view."""
        return _rows(shard, segment, self.q_begin)

    def kv_rows(self, shard: Bytes, segment: Segment) -> Bytes:
        return _rows(shard, segment, self.kv_begin)


class Send(NamedTuple):
    """One segment on its way; `number` is its place in the pair's list."""

    rank: int
    tensor: str
    number: int
    rows: Bytes


class Receive(NamedTuple):
    """One expected segment and where its rows go."""

    rank: int
    tensor: str
    number: int
    rows: Bytes


def owner_exchange(plan: Plan, owner: int) -> OwnerExchange:
    tables = tuple(rank_tables(plan))
    return OwnerExchange(
        plan,
        owner,
        sum(plan.spec.q_splits[:owner]),
        sum(plan.spec.kv_splits[:owner]),
        tables,
        tuple(pair_segments(plan, table, owner) for table in tables),
    )


def forward_sends(exchange: OwnerExchange, q: Bytes, k: Bytes, v: Bytes) -> list[Send]:
    return _sends(exchange, {"q": q}, {"k": k, "v": v})


def backward_sends(exchange: OwnerExchange, dout: Bytes, carried: dict[str, Bytes]) -> list[Send]:
    """dout, and the inputs that ranks did not keep."""
    q_like = {name: shard for name, shard in carried.items() if name == "q"}
    kv_like = {name: shard for name, shard in carried.items() if name != "q"}
    return _sends(exchange, {**q_like, "dout": dout}, kv_like)


def _sends(exchange: OwnerExchange, q_like: dict[str, Bytes], kv_like: dict[str, Bytes]) -> list[Send]:
    """Each rank's units in plan order, KV before the first unit that reads it, ranks in turn."""
    return _in_turn([list(_line(exchange, rank, q_like, kv_like)) for rank in range(len(exchange.by_rank))])


def _line(exchange: OwnerExchange, rank: int, q_like: dict[str, Bytes], kv_like: dict[str, Bytes]) -> Iterable[Send]:
    pair, table = exchange.by_rank[rank], exchange.tables[rank]
    # Of one interval an owner holds one run of rows, so an interval is at most one segment.
    number_of_interval = {segment.place: number for number, segment in enumerate(pair.kv)}
    sent: set[int] = set()

    def interval(place: int) -> Iterable[Send]:
        number = number_of_interval.get(place)
        if number is None or place in sent:
            return
        sent.add(place)
        segment = pair.kv[number]
        for tensor, shard in kv_like.items():
            yield Send(rank, tensor, number, exchange.kv_rows(shard, segment))

    for number, segment in enumerate(pair.q):
        yield from interval(table.kv_interval_of_unit[segment.place])
        for tensor, shard in q_like.items():
            yield Send(rank, tensor, number, exchange.q_rows(shard, segment))
    # Intervals read only by units whose q rows other owners hold.
    for place in number_of_interval:
        yield from interval(place)


def forward_receives(exchange: OwnerExchange, out: Bytes, lse: Bytes) -> list[Receive]:
    """`out` is shaped like q, `lse` uint8 [rows, batch, heads, 4]."""
    return [
        Receive(rank, tensor, number, exchange.q_rows(shard, segment))
        for rank, pair in enumerate(exchange.by_rank)
        for tensor, shard in (("out", out), ("lse", lse))
        for number, segment in enumerate(pair.q)
    ]


def backward_receives(exchange: OwnerExchange, dq: Bytes) -> list[Receive]:
    """dq alone: where dk and dv go is for `fold_partials.py` to say."""
    return [
        Receive(rank, "dq", number, exchange.q_rows(dq, segment))
        for rank, pair in enumerate(exchange.by_rank)
        for number, segment in enumerate(pair.q)
    ]


def _rows(shard: Bytes, segment: Segment, begin: int) -> Bytes:
    return shard[segment.begin - begin : segment.end - begin, segment.batch, segment.head]


def _in_turn(lines: Sequence[Sequence[Send]]) -> list[Send]:
    """One entry of each line in turn, so that no rank waits until another's rows are sent."""
    return [send for turn in zip_longest(*lines) for send in turn if send is not None]
