"""Which rows of an owner's shard go to whom, and where what comes back belongs.

A shard is uint8 [rows, batch, heads, row_bytes] of any stride, whatever the layout and dtype of the step. Rows beyond
the gather size belong to no segment: they are not sent, and stay zero in results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from ..plan import Granule, PairSegments, Plan, RankTable, RowRange, Segment, granules_of, pair_segments, rank_tables
from ..wire.slices import Bytes


@dataclass(frozen=True)
class OwnerExchange:
    plan: Plan
    owner: int
    #: Whole-sequence row of the shard's first row.
    q_begin: int
    kv_begin: int
    tables: tuple[RankTable, ...]
    #: What each rank computes at a time, which says what it waits for first.
    granules: tuple[list[Granule], ...]
    #: Segments between this owner and every rank, in rank order.
    by_rank: tuple[PairSegments, ...]

    def q_rows(self, shard: Bytes, segment: Segment) -> Bytes:
        """A segment's rows of a q-like shard: uint8 [rows, row_bytes], a view."""
        return _rows(shard, segment, self.q_begin)

    def kv_rows(self, shard: Bytes, segment: Segment) -> Bytes:
        return _rows(shard, segment, self.kv_begin)


class Send(NamedTuple):
    """Some rows of one segment on their way; `number` is its place in the pair's list.

    In an exchange alone, `rank` is the other owner.
    """

    rank: int
    tensor: str
    number: int
    #: Of the whole segment.
    rows: Bytes
    part: RowRange

    @property
    def bytes(self) -> int:
        row_bytes: int = self.rows.shape[1]
        return (self.part.end - self.part.begin) * row_bytes


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
        tuple(granules_of(plan, tables)),
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
    """Each rank's granules in their order, the keys that one reads before its rows, ranks in turn."""
    lines = [_line(exchange, rank, q_like, kv_like) for rank in range(len(exchange.by_rank))]
    return _in_turn([[send for send in line if send.bytes] for line in lines])


def _line(exchange: OwnerExchange, rank: int, q_like: dict[str, Bytes], kv_like: dict[str, Bytes]) -> Iterable[Send]:
    pair, table = exchange.by_rank[rank], exchange.tables[rank]
    # Of one unit or interval an owner holds one run of rows, so each is at most one segment.
    number_of_unit = {segment.place: number for number, segment in enumerate(pair.q)}
    number_of_interval = {segment.place: number for number, segment in enumerate(pair.kv)}
    keys_sent = [interval.begin for interval in table.kv_intervals]
    shard_end = exchange.q_begin + exchange.plan.spec.q_splits[exchange.owner]
    for unit, q_begin, q_end, keys in exchange.granules[rank]:
        if keys is not None:
            place = table.kv_interval_of_unit[unit]
            # Other owners' rows of the unit wait for keys of this one that its own do not see: those leave before them.
            end = table.kv_intervals[place].end if table.units[unit].q_end > shard_end else keys.end
            if place in number_of_interval:
                number = number_of_interval[place]
                segment = pair.kv[number]
                part = _within(segment, keys_sent[place], end)
                for tensor, shard in kv_like.items():
                    yield Send(rank, tensor, number, exchange.kv_rows(shard, segment), part)
            keys_sent[place] = max(keys_sent[place], end)
        if unit in number_of_unit:
            number = number_of_unit[unit]
            segment = pair.q[number]
            part = _within(segment, q_begin, q_end)
            for tensor, shard in q_like.items():
                yield Send(rank, tensor, number, exchange.q_rows(shard, segment), part)


def _within(segment: Segment, begin: int, end: int) -> RowRange:
    """Whole-sequence rows as far as the segment has them, counted from its first; empty when it has none."""
    first = min(max(begin, segment.begin), segment.end)
    return RowRange(first - segment.begin, max(first, min(end, segment.end)) - segment.begin)


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
