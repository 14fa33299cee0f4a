"""Which heads every owner computes with a core attention of its own. The same as the TypeScript client's."""

from __future__ import annotations

from typing import NamedTuple

from .exchange_plan import split_ranges
from .spec import RowRange
from .split_sizes import split_sizes


class HeadRouting(NamedTuple):
    #: Whole heads in owner order, the remainder one each to the lowest owners.
    q_heads: tuple[RowRange, ...]
    #: The KV heads that these read; owners share some where heads or groups do not divide.
    kv_heads: tuple[RowRange, ...]


def route_heads(heads: int, kv_heads: int, owners: int) -> HeadRouting:
    """Query heads [begin, end) of groups of heads / kv_heads read KV heads [begin // group, ceil(end / group))."""
    group = heads // kv_heads
    q_heads = split_ranges(split_sizes(heads, owners))
    return HeadRouting(
        q_heads,
        tuple(RowRange(begin // group, begin // group if begin == end else -(-end // group)) for begin, end in q_heads),
    )


def kv_head_of_q_head(q_heads: RowRange, kv_heads: RowRange, group: int) -> list[int]:
    """Per query head of one owner, the KV head that it reads, counted from the owner's first."""
    return [head // group - kv_heads.begin for head in range(*q_heads)]
