"""Boolean masks said exactly in the mask algebra, or refused with the first row that does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ShapeMismatchError, UlyssesError, UnsupportedError, field_error
from .sample_mask import sample_mask
from .spec import Mask, RowRange, Segments, StepSpec, ValidRanges

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

FIELD = "attention_mask"
ACCEPTED = "a band around the diagonal, together with packed segments or one valid range per sample"


def classify_mask(visible: npt.NDArray[Any], batch: int, s_q: int, s_kv: int) -> Mask:
    """A mask [s_kv], [b, s_kv] (keys) or [b, 1, s_q, s_kv], not zero where visible.

    A key mask makes valid ranges of keys, and of query rows too when s_q = s_kv. Raises UNSUPPORTED for what the
    algebra cannot say, SHAPE_MISMATCH for a shape that does not fit.
    """
    seen = visible.astype(np.bool_)
    if seen.shape == (s_kv,):
        return _key_mask(np.broadcast_to(seen, (batch, s_kv)), s_q)
    if seen.shape == (batch, s_kv):
        return _key_mask(seen, s_q)
    if seen.shape == (batch, 1, s_q, s_kv):
        return classify_rows(*_runs(seen[:, 0]), s_kv)
    expected = f"[{s_kv}], [{batch}, {s_kv}] or [{batch}, 1, {s_q}, {s_kv}]"
    raise field_error(ShapeMismatchError, f"{FIELD}.shape", list(seen.shape), expected)


def _key_mask(seen: BoolArray, s_q: int) -> Mask:
    batch, s_kv = seen.shape
    begins, ends = _runs(seen)
    kv = tuple(RowRange(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True))
    q = kv if s_q == s_kv else (RowRange(0, s_q),) * batch
    return Mask(valid_ranges=_unless_full(ValidRanges(q, kv), s_q, s_kv))


def classify_rows(begins: IntArray, ends: IntArray, s_kv: int) -> Mask:
    """The same of first and end visible key of every row, int64 [b, s_q] each, both 0 for a row that sees none."""
    batch, s_q = begins.shape
    q, kv = [], []
    for sample in range(batch):
        rows = np.flatnonzero(begins[sample] < ends[sample])
        if rows.size == 0:
            q.append(RowRange(0, 0))
            kv.append(RowRange(0, 0))
        else:
            q.append(RowRange(int(rows[0]), int(rows[-1]) + 1))
            kv.append(RowRange(int(begins[sample][rows].min()), int(ends[sample][rows].max())))
    rows = np.arange(s_q)
    diagonal = np.broadcast_to(rows + s_kv - s_q, begins.shape)
    keys_begin = np.array([each.begin for each in kv])[:, None]
    keys_end = np.array([each.end for each in kv])[:, None]
    left, right = _band(begins, ends, diagonal, keys_begin, keys_end)
    mask = Mask(left, right, None, _unless_full(ValidRanges(tuple(q), tuple(kv)), s_q, s_kv))
    misfit = _first_misfit(mask, begins, ends, s_kv)
    if misfit is None:
        return mask
    if batch == 1 and s_q == s_kv:
        packed = _packed(begins[0], ends[0])
        if _first_misfit(packed, begins, ends, s_kv) is None:
            return packed
    sample, row = misfit
    raise _refusal(f"sample {sample}, row {row} sees keys [{begins[sample][row]}, {ends[sample][row]})")


def _packed(begins: IntArray, ends: IntArray) -> Mask:
    """Packed self-attention: a segment starts where no row sees across, neither back nor ahead."""
    rows = np.arange(len(begins))
    empty = begins >= ends
    earliest = np.minimum.accumulate(np.where(empty, rows, begins)[::-1])[::-1]
    latest = np.concatenate(([0], np.maximum.accumulate(np.where(empty, rows, ends))[:-1]))
    starts = np.flatnonzero((latest <= rows) & (earliest >= rows))
    sums = np.append(starts, len(begins))
    segment = np.searchsorted(starts, rows, side="right") - 1
    left, right = _band(begins, ends, rows, sums[segment], sums[segment + 1])
    cu_seqlens = tuple(int(each) for each in sums)
    return Mask(left, right, Segments(cu_seqlens, cu_seqlens))


def _band(
    begins: IntArray, ends: IntArray, diagonal: IntArray, keys_begin: IntArray, keys_end: IntArray
) -> tuple[int | None, int | None]:
    """The band that rows suggest whose ends are not the ends of all keys; `_first_misfit` decides."""
    some = begins < ends
    lefts = (diagonal - begins)[some & (begins > keys_begin)]
    rights = (ends - 1 - diagonal)[some & (ends < keys_end)]
    return (
        None if lefts.size == 0 else max(0, int(lefts[0])),
        None if rights.size == 0 else max(0, int(rights[0])),
    )


def _first_misfit(mask: Mask, begins: IntArray, ends: IntArray, s_kv: int) -> tuple[int, int] | None:
    """The first row that sees other keys than the mask says."""
    batch, s_q = begins.shape
    spec = StepSpec("f32", "sbhd", batch, 1, 1, 1, (s_q,), (s_kv,), mask, 1.0, "heads")
    for sample in range(batch):
        begin, end = visible_keys(spec, sample)
        empty = begins[sample] >= ends[sample]
        wrong = np.where(empty, begin < end, (begin != begins[sample]) | (end != ends[sample]))
        if wrong.any():
            return sample, int(np.argmax(wrong))
    return None


def visible_keys(spec: StepSpec, batch: int) -> tuple[IntArray, IntArray]:
    """First and end key that every query row of one sample sees, int64 [s_q] each; both 0 for a row that sees none."""
    rows = sum(spec.q_splits)
    begin, end = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for band in sample_mask(spec, batch).bands:
        each = np.arange(band.q_begin, band.q_end)
        begin[each] = np.maximum(band.kv_begin, each + band.low)
        end[each] = np.minimum(band.kv_end, each + band.high)
    return begin, end


def _runs(seen: BoolArray) -> tuple[IntArray, IntArray]:
    """The one run of visible keys on the last axis: [b] or [b, s_q] begins and ends, both 0 where there is none."""
    some = seen.any(axis=-1)
    begins = np.where(some, seen.argmax(axis=-1), 0)
    ends = np.where(some, seen.shape[-1] - seen[..., ::-1].argmax(axis=-1), 0)
    torn = seen.sum(axis=-1) != ends - begins
    if torn.any():
        at = tuple(int(each) for each in np.argwhere(torn)[0])
        where = f"sample {at[0]}" if len(at) == 1 else f"sample {at[0]}, row {at[1]}"
        hidden = int(begins[at]) + int(seen[at][begins[at] :].argmin())
        raise _refusal(f"{where} does not see key {hidden}, which is between keys it sees")
    return begins, ends


def _unless_full(ranges: ValidRanges, s_q: int, s_kv: int) -> ValidRanges | None:
    full = all(each == (0, s_q) for each in ranges.q) and all(each == (0, s_kv) for each in ranges.kv)
    return None if full else ranges


def _refusal(misfit: str) -> UlyssesError:
    return field_error(UnsupportedError, FIELD, misfit, ACCEPTED)
