"""An owner's side of an exchange alone.

A tensor is uint8 [*shape, element bytes], dense. What travels between two owners is one segment, number 0: one
dimension of the sender's tensor narrowed, so it is rows at a stride at both ends, whatever the shape. What an owner
keeps to itself does not travel.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..plan import ELEMENT_BYTES, DType, ExchangeSpec, RowRange
from ..wire.slices import Bytes
from .fold_partials import store_rounded
from .owner_exchange import Receive, Send

EXCHANGED = "exchanged"


class Landing(NamedTuple):
    """Where what the others send arrives, and the tensor that it becomes."""

    receives: list[Receive]
    result: Bytes


def exchange_sends(spec: ExchangeSpec, owner: int, shard: Bytes) -> list[Send]:
    """What goes to the other owners, the next one first: so no owner is sent to by all at once."""
    parts = ((to, rows_of(shard, spec.scatter_dim, spec.scatter_ranges[to])) for to in _others(spec, owner))
    return [Send(to, EXCHANGED, 0, rows, RowRange(0, len(rows))) for to, rows in parts if rows.size]


def place_exchanged(spec: ExchangeSpec, owner: int, shard: Bytes) -> Landing:
    """Everything arrives in its place; gather ranges must not overlap."""
    result = _empty(spec.output_shape(owner), ELEMENT_BYTES[spec.dtype])
    own = narrowed(shard, spec.scatter_dim, spec.scatter_ranges[owner])
    np.copyto(narrowed(result, spec.gather_dim, spec.gather_ranges[owner]), own)
    parts = ((source, rows_of(result, spec.gather_dim, spec.gather_ranges[source])) for source in _others(spec, owner))
    return Landing([Receive(source, EXCHANGED, 0, rows) for source, rows in parts if rows.size], result)


class PartialSums:
    """Float32 parts of several owners, summed in owner order where their gather ranges overlap, and rounded once."""

    def __init__(self, spec: ExchangeSpec, owner: int, shard: Bytes) -> None:
        self._spec = spec
        self._owner = owner
        #: Every owner's part of this owner's result, its own included.
        self._parts = [_empty(self._part_shape(source), 4) for source in range(len(spec.gather_ranges))]
        np.copyto(self._parts[owner], narrowed(shard, spec.scatter_dim, spec.scatter_ranges[owner]))
        whole = RowRange(0, spec.scatter_ranges[owner].end - spec.scatter_ranges[owner].begin)
        self.receives = [
            Receive(source, EXCHANGED, 0, rows_of(self._parts[source], spec.scatter_dim, whole))
            for source in _others(spec, owner)
            if self._parts[source].size
        ]

    def sum(self, dtype: DType) -> Bytes:
        """To be called when everything has arrived. What no owner holds is zero."""
        spec = self._spec
        ranges, shape = spec.gather_ranges, spec.output_shape(self._owner)
        result = np.zeros((*shape, ELEMENT_BYTES[dtype]), np.uint8)
        if result.size == 0:
            return result
        for begin, end in pairwise(sorted({edge for part in ranges for edge in part})):
            holders = [source for source, part in enumerate(ranges) if part.begin <= begin and end <= part.end]
            if not holders:
                continue
            total = self._rows(holders[0], begin, end)
            for source in holders[1:]:
                total = total + self._rows(source, begin, end)
            target = narrowed(result, spec.gather_dim, RowRange(begin, end))
            # [..., elements] -> [rows, elements]: rounding sees rows.
            rounded = np.empty((total.shape[0], total.shape[1] * ELEMENT_BYTES[dtype]), np.uint8)
            store_rounded(dtype, np.ascontiguousarray(total), rounded)
            np.copyto(target, rounded.reshape(target.shape))
        return result

    def _rows(self, source: int, begin: int, end: int) -> npt.NDArray[np.float32]:
        first = self._spec.gather_ranges[source].begin
        part = narrowed(self._parts[source], self._spec.gather_dim, RowRange(begin - first, end - first))
        floats = np.ascontiguousarray(part).view(np.float32)
        return floats.reshape(floats.shape[0], -1)

    def _part_shape(self, source: int) -> tuple[int, ...]:
        gathered = self._spec.gather_ranges[source]
        shape = list(self._spec.output_shape(self._owner))
        shape[self._spec.gather_dim] = gathered.end - gathered.begin
        return tuple(shape)


def resized(tensor: Bytes, dim: int, extent: int) -> Bytes:
    """The tensor with a dimension that ends earlier, or goes on with zeros."""
    if tensor.shape[dim] == extent:
        return tensor
    if tensor.shape[dim] > extent:
        return np.ascontiguousarray(narrowed(tensor, dim, RowRange(0, extent)))
    longer = np.zeros((*tensor.shape[:dim], extent, *tensor.shape[dim + 1 :]), np.uint8)
    np.copyto(narrowed(longer, dim, RowRange(0, tensor.shape[dim])), tensor)
    return longer


def narrowed(tensor: Bytes, dim: int, part: RowRange) -> Bytes:
    """A view: [a, n, c] -> [a, begin..end, c]."""
    view: Bytes = tensor[(slice(None),) * dim + (slice(part.begin, part.end),)]
    return view


def rows_of(tensor: Bytes, dim: int, part: RowRange) -> Bytes:
    """The same view as rows at a stride: uint8 [rows, row_bytes]."""
    outer, inner = math.prod(tensor.shape[:dim]), math.prod(tensor.shape[dim + 1 :])
    # [a, n, c] -> [a, n * c]
    rows = tensor.reshape(outer, tensor.shape[dim] * inner)
    return rows[:, part.begin * inner : part.end * inner]


def _empty(shape: tuple[int, ...], element_bytes: int) -> Bytes:
    return np.empty((*shape, element_bytes), np.uint8)


def _others(spec: ExchangeSpec, owner: int) -> list[int]:
    """Owners but this one, beginning with the next."""
    count = len(spec.gather_ranges)
    return [(owner + 1 + step) % count for step in range(count - 1)]
