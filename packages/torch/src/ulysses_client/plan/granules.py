"""What ranks compute at a time: the same arithmetic as `packages/plan/src/granules.ts`.

Nothing depends on it but the order in which rows are sent, which is the one in which ranks wait for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from .sample_mask import SampleMask, pairs_before_row, row_near_pairs, sample_masks, visible_runs
from .spec import Plan, RankTable, RowRange, Unit


class Granule(NamedTuple):
    """Rows of a unit that are computed together."""

    #: Its place in the rank's table.
    unit: int
    q_begin: int
    q_end: int
    #: What these rows see: one range without gaps, or none.
    keys: RowRange | None


#: What a rank's work is cut into, more or less.
_GRANULES = 16
#: Less work than this is not cut: (row, key) pairs, and rows, which count as so many.
_GRANULE_WORK = 2**19
_PAIRS_PER_ROW = 512
_TILE_ROWS = 128


def granules_of(plan: Plan, tables: Sequence[RankTable]) -> list[list[Granule]]:
    """Each table's granules, unit by unit, rows ascending."""
    masks = sample_masks(plan.spec)
    return [_granules(table, masks) for table in tables]


def _granules(table: RankTable, masks: Sequence[SampleMask]) -> list[Granule]:
    work = []
    for unit in table.units:
        pairs = _pairs(masks[unit.batch], unit)
        work.append(pairs + (unit.q_end - unit.q_begin) * _PAIRS_PER_ROW if pairs else 0)
    most = max(_GRANULE_WORK, sum(work) / _GRANULES)
    return [
        Granule(index, *run)
        for index, unit in enumerate(table.units)
        for begin, end in pairwise(_even_edges(masks[unit.batch], unit, math.floor(work[index] / most)))
        for run in visible_runs(masks[unit.batch], begin, end)
    ]


def _even_edges(mask: SampleMask, unit: Unit, count: int) -> list[int]:
    """A unit's rows cut at whole tiles into at most `count` pieces of about as many pairs."""
    before, pairs = pairs_before_row(mask, unit.q_begin), _pairs(mask, unit)
    edges = [unit.q_begin]
    for piece in range(1, count):
        row = row_near_pairs(mask, before + pairs * piece / count)
        # To the nearest tile, halves up.
        edge = unit.q_begin + (row - unit.q_begin + _TILE_ROWS // 2) // _TILE_ROWS * _TILE_ROWS
        if edges[-1] < edge < unit.q_end:
            edges.append(edge)
    return [*edges, unit.q_end]


def _pairs(mask: SampleMask, unit: Unit) -> int:
    return pairs_before_row(mask, unit.q_end) - pairs_before_row(mask, unit.q_begin)
