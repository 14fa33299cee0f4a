"""One sample's mask as bands of rows: the same arithmetic as `packages/plan/src/{band,sample-mask}.ts`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from .spec import Mask, RowRange, StepSpec


class Band(NamedTuple):
    """Row i of [q_begin, q_end) sees keys [max(kv_begin, i + low), min(kv_end, i + high)), which are never none."""

    q_begin: int
    q_end: int
    kv_begin: int
    kv_end: int
    low: int
    high: int

    def first_key(self, row: int) -> int:
        return max(self.kv_begin, row + self.low)

    def end_key(self, row: int) -> int:
        """One past the last key that `row` sees."""
        return min(self.kv_end, row + self.high)

    def pairs(self, begin: int, end: int) -> int:
        """Visible (row, key) pairs of rows [begin, end) of the band."""
        # Ends: i + high up to the row where kv_end clamps them. Begins: kv_begin up to the row where i + low passes it.
        ends_clamp = min(max(self.kv_end - self.high, begin), end)
        begins_move = min(max(self.kv_begin - self.low, begin), end)
        ends = _sum(begin, ends_clamp) + (ends_clamp - begin) * self.high + (end - ends_clamp) * self.kv_end
        begins = (begins_move - begin) * self.kv_begin + _sum(begins_move, end) + (end - begins_move) * self.low
        return ends - begins


@dataclass(frozen=True)
class SampleMask:
    bands: tuple[Band, ...]
    #: `q_end` of every band, to search in.
    ends: tuple[int, ...]
    #: `q_begin` of every band, to search in.
    begins: tuple[int, ...]
    #: Visible pairs of one head before each band; one more entry holds the sample's.
    pairs_before: tuple[int, ...]
    #: Bands between whose first key and the band before lie keys that no row sees.
    gaps: tuple[int, ...]


class VisibleRun(NamedTuple):
    """A run of rows whose visible keys have no gap; `keys` is None when they see none."""

    q_begin: int
    q_end: int
    keys: RowRange | None


def sample_masks(spec: StepSpec) -> list[SampleMask]:
    """The mask of every sample; samples without a range of their own share one value."""
    if spec.mask.valid_ranges is not None:
        return [sample_mask(spec, batch) for batch in range(spec.batch)]
    return [sample_mask(spec, 0)] * spec.batch


def sample_mask(spec: StepSpec, batch: int) -> SampleMask:
    bands = _bands(spec.mask, sum(spec.q_splits), sum(spec.kv_splits), batch)
    gaps = tuple(
        index
        for index in range(1, len(bands))
        if bands[index].first_key(bands[index].q_begin) > bands[index - 1].end_key(bands[index - 1].q_end - 1)
    )
    ends, begins = tuple(band.q_end for band in bands), tuple(band.q_begin for band in bands)
    pairs_before = tuple(accumulate((band.pairs(band.q_begin, band.q_end) for band in bands), initial=0))
    return SampleMask(bands, ends, begins, pairs_before, gaps)


def _bands(mask: Mask, s_q: int, s_kv: int, batch: int) -> tuple[Band, ...]:
    # A bound of s_q + s_kv reaches every key from every row.
    reach = s_q + s_kv
    left = reach if mask.left is None else min(mask.left, reach)
    right = reach if mask.right is None else min(mask.right, reach)
    bands: list[Band] = []

    def push(q: RowRange, kv: RowRange, diagonal: int) -> None:
        low, high = diagonal - left, diagonal + right + 1
        begin, end = max(q.begin, kv.begin - high + 1), min(q.end, kv.end - low)
        if begin < end and kv.begin < kv.end:
            bands.append(Band(begin, end, kv.begin, kv.end, low, high))

    if mask.segments is not None:
        cu_q, cu_kv = mask.segments.cu_seqlens_q, mask.segments.cu_seqlens_kv
        for index in range(len(cu_q) - 1):
            q, kv = RowRange(cu_q[index], cu_q[index + 1]), RowRange(cu_kv[index], cu_kv[index + 1])
            push(q, kv, kv.end - q.end)
    else:
        ranges = mask.valid_ranges
        q = RowRange(0, s_q) if ranges is None else ranges.q[batch]
        kv = RowRange(0, s_kv) if ranges is None else ranges.kv[batch]
        push(q, kv, s_kv - s_q)
    return tuple(bands)


def pairs_before_row(mask: SampleMask, row: int) -> int:
    """Visible pairs of the sample's rows [0, row), of one head."""
    index = bisect_right(mask.ends, row)
    if index == len(mask.bands) or row <= mask.begins[index]:
        return mask.pairs_before[index]
    return mask.pairs_before[index] + mask.bands[index].pairs(mask.begins[index], row)


def row_near_pairs(mask: SampleMask, pairs: float) -> int:
    """The row of one head with the number of visible pairs before it nearest to `pairs`, which the sample has."""
    index = bisect_left(mask.pairs_before, pairs, 1) - 1
    band, left = mask.bands[index], pairs - mask.pairs_before[index]
    rows = range(band.q_begin + 1, band.q_end)
    row = band.q_begin + 1 + bisect_left(rows, left, key=lambda row: band.pairs(band.q_begin, row))
    below, above = band.pairs(band.q_begin, row - 1), band.pairs(band.q_begin, row)
    return row - 1 if left - below < above - left else row


def visible_runs(mask: SampleMask, q_begin: int, q_end: int) -> list[VisibleRun]:
    """Rows [q_begin, q_end) as runs without a gap between visible keys, in order: nearly always one run."""
    bands, gaps = mask.bands, mask.gaps
    first = bisect_right(mask.ends, q_begin)
    end = max(first, bisect_left(mask.begins, q_end))
    if first == end:
        return [VisibleRun(q_begin, q_end, None)]
    runs: list[VisibleRun] = []
    band, begin = first, q_begin
    while begin < q_end:
        gap = bisect_right(gaps, band)
        after = min(gaps[gap] if gap < len(gaps) else end, end)
        run_end = q_end if after == end else bands[after].q_begin
        last = bands[after - 1]
        keys = RowRange(
            bands[band].first_key(max(begin, bands[band].q_begin)), last.end_key(min(run_end, last.q_end) - 1)
        )
        runs.append(VisibleRun(begin, run_end, keys))
        band, begin = after, run_end
    return runs


def _sum(begin: int, end: int) -> int:
    """begin + (begin + 1) + … + (end - 1)"""
    return (begin + end - 1) * (end - begin) // 2
