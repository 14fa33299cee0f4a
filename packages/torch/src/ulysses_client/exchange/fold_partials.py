"""Partial dk and dv of several ranks, summed by the owner in rank order, whatever arrived first."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..plan import DType, Segment
from ..wire.slices import Bytes
from .owner_exchange import OwnerExchange, Receive

Floats = npt.NDArray[np.float32]


class FoldRun(NamedTuple):
    """Rows of one KV head and, in rank order, the (rank, segment number)s that have partial sums of them."""

    batch: int
    head: int
    begin: int
    end: int
    sources: tuple[tuple[int, int], ...]


class GradientFold:
    """Where one backward's partial sums arrive, and how they become dk and dv.

    `dk` and `dv` are shards of the step's dtype, zero where no rank computes anything. A float32 segment that no other
    rank shares arrives in its place; all others arrive in memory of their own and are rounded once, after the sum.
    """

    def __init__(self, exchange: OwnerExchange, dk: Bytes, dv: Bytes) -> None:
        self._exchange = exchange
        self._shards = {"dk": dk, "dv": dv}
        self._runs = fold_runs(exchange)
        self._partials: dict[tuple[str, int, int], Floats] = {}
        shared = {source for run in self._runs if len(run.sources) > 1 for source in run.sources}
        head_size, in_place = exchange.plan.spec.head_size, exchange.plan.spec.dtype == "f32"
        self.receives: list[Receive] = []
        for rank, pair in enumerate(exchange.by_rank):
            for number, segment in enumerate(pair.kv):
                for tensor, shard in self._shards.items():
                    if in_place and (rank, number) not in shared:
                        rows = exchange.kv_rows(shard, segment)
                    else:
                        partial = np.empty((segment.rows, head_size), np.float32)
                        self._partials[tensor, rank, number] = partial
                        rows = partial.view(np.uint8)
                    self.receives.append(Receive(rank, tensor, number, rows))

    def finish(self) -> None:
        """To be called when everything has arrived."""
        exchange = self._exchange
        for run in self._runs:
            for tensor, shard in self._shards.items():
                parts = [
                    self._part(tensor, rank, number, run)
                    for rank, number in run.sources
                    if (tensor, rank, number) in self._partials
                ]
                if not parts:
                    continue
                total = parts[0]
                if len(parts) > 1:
                    total = parts[0] + parts[1]
                    for part in parts[2:]:
                        total += part
                target = exchange.kv_rows(shard, Segment(0, run.batch, run.head, run.begin, run.end))
                store_rounded(exchange.plan.spec.dtype, total, target)
        self._partials.clear()

    def _part(self, tensor: str, rank: int, number: int, run: FoldRun) -> Floats:
        begin = self._exchange.by_rank[rank].kv[number].begin
        return self._partials[tensor, rank, number][run.begin - begin : run.end - begin]


def fold_runs(exchange: OwnerExchange) -> list[FoldRun]:
    """Cuts every (batch, KV head) where the set of contributing ranks changes."""
    pieces: dict[tuple[int, int], list[tuple[Segment, int, int]]] = defaultdict(list)
    for rank, pair in enumerate(exchange.by_rank):
        for number, segment in enumerate(pair.kv):
            pieces[segment.batch, segment.head].append((segment, rank, number))
    runs: list[FoldRun] = []
    for (batch, head), segments in pieces.items():
        edges = sorted({edge for segment, _, _ in segments for edge in (segment.begin, segment.end)})
        for begin, end in pairwise(edges):
            sources = tuple(
                (rank, number) for segment, rank, number in segments if segment.begin <= begin and end <= segment.end
            )
            if sources:
                runs.append(FoldRun(batch, head, begin, end, sources))
    return runs


def store_rounded(dtype: DType, values: Floats, rows: Bytes) -> None:
    """Rounds float32 [rows, d] to the nearest, ties to even, into uint8 [rows, d * element bytes]."""
    if dtype == "f32":
        np.copyto(rows, values.view(np.uint8).reshape(rows.shape))
    elif dtype == "f16":
        with np.errstate(over="ignore"):
            np.copyto(rows, values.astype(np.float16).view(np.uint8).reshape(rows.shape))
    else:
        bits = np.ascontiguousarray(values).view(np.uint32)
        rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
        # Rounding up may carry a NaN over to zero.
        rounded[np.isnan(values)] = 0x7FC0
        np.copyto(rows, rounded.view(np.uint8).reshape(rows.shape))
