"""What a plan follows from and what follows from it. The same words as `packages/plan/src/spec.ts`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

DType = Literal["f32", "bf16", "f16"]
Layout = Literal["sbhd", "bshd", "thd"]
Strategy = Literal["heads", "balanced"]

ELEMENT_BYTES: dict[str, int] = {"f32": 4, "bf16": 2, "f16": 2}
LAYOUTS = ("sbhd", "bshd", "thd")
STRATEGIES = ("heads", "balanced")


class RowRange(NamedTuple):
    """Half-open interval of rows."""

    begin: int
    end: int


@dataclass(frozen=True)
class Segments:
    """Packed samples: running sums that start at 0 and end at the number of rows."""

    cu_seqlens_q: tuple[int, ...]
    cu_seqlens_kv: tuple[int, ...]


@dataclass(frozen=True)
class ValidRanges:
    """One valid range per sample; rows outside it see nothing and are seen by nobody."""

    #: In an owner's view it may be empty, of a mask of keys: the coordinator, which knows all shards, fills it in.
    q: tuple[RowRange, ...]
    kv: tuple[RowRange, ...]


@dataclass(frozen=True)
class Mask:
    """A band around the diagonal AND (packed segments | one valid range per sample).

    Row i of a segment with s_q queries and s_kv keys sees keys j with
    `i + (s_kv - s_q) - left <= j <= i + (s_kv - s_q) + right`, clamped to the segment; None means unbounded.
    Causal is `right = 0`.
    """

    left: int | None = None
    right: int | None = None
    segments: Segments | None = None
    valid_ranges: ValidRanges | None = None


@dataclass(frozen=True)
class StepSpec:
    """A step, resolved. Rows are those that are exchanged; `q_splits` has one entry per sequence owner."""

    dtype: DType
    layout: Layout
    batch: int
    q_heads: int
    kv_heads: int
    head_size: int
    q_splits: tuple[int, ...]
    kv_splits: tuple[int, ...]
    mask: Mask
    scale: float
    strategy: Strategy
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """Spec plus cuts: rank r computes positions [cuts[r], cuts[r + 1]) of the line of all query rows of all heads."""

    plan_id: str
    cp_size: int
    spec: StepSpec
    cuts: tuple[int, ...]


class Unit(NamedTuple):
    """Rows [q_begin, q_end) of one query head: the element of work."""

    batch: int
    q_head: int
    q_begin: int
    q_end: int


class KvInterval(NamedTuple):
    """Rows [begin, end) of one KV head, each of which some unit of the rank sees."""

    batch: int
    kv_head: int
    begin: int
    end: int


@dataclass(frozen=True)
class RankTable:
    """What one rank computes: units in plan order, the KV rows they read, and which interval each reads (-1: none)."""

    rank: int
    units: tuple[Unit, ...]
    kv_intervals: tuple[KvInterval, ...]
    kv_interval_of_unit: tuple[int, ...]


class Segment(NamedTuple):
    """One run of rows of one head that travels between an owner and a rank; `place` is its unit's in the table."""

    place: int
    batch: int
    head: int
    begin: int
    end: int

    @property
    def rows(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class PairSegments:
    """Everything that travels between one owner and one rank; a segment's wire number is its place in the list."""

    q: tuple[Segment, ...]
    kv: tuple[Segment, ...]
