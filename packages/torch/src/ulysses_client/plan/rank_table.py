"""What every rank computes, and what travels between it and an owner; derived from spec and cuts."""

from __future__ import annotations

from .sample_mask import SampleMask, sample_masks, visible_runs
from .spec import KvInterval, PairSegments, Plan, RankTable, RowRange, Segment, StepSpec, Unit


def rank_tables(plan: Plan) -> list[RankTable]:
    """The tables of all ranks, in rank order."""
    masks = sample_masks(plan.spec)
    return [_table(plan, masks, rank) for rank in range(plan.cp_size)]


def _table(plan: Plan, masks: list[SampleMask], rank: int) -> RankTable:
    found = _units_between(plan.spec, masks, plan.cuts[rank], plan.cuts[rank + 1])
    intervals, interval_of_unit = _merge_keys(plan.spec, found)
    return RankTable(rank, tuple(unit for unit, _ in found), intervals, interval_of_unit)


def _units_between(spec: StepSpec, masks: list[SampleMask], begin: int, end: int) -> list[tuple[Unit, RowRange | None]]:
    if begin == end:
        return []
    rows = sum(spec.q_splits)
    found: list[tuple[Unit, RowRange | None]] = []
    for lane in range(begin // rows, -(-end // rows)):
        # `heads` lists every sample of a head before the next head, `balanced` every head of a sample.
        if spec.strategy == "heads":
            q_head, batch = divmod(lane, spec.batch)
        else:
            batch, q_head = divmod(lane, spec.q_heads)
        q_begin, q_end = max(0, begin - lane * rows), min(rows, end - lane * rows)
        for run in visible_runs(masks[batch], q_begin, q_end):
            found.append((Unit(batch, q_head, run.q_begin, run.q_end), run.keys))
    return found


def _merge_keys(
    spec: StepSpec, found: list[tuple[Unit, RowRange | None]]
) -> tuple[tuple[KvInterval, ...], tuple[int, ...]]:
    """Rows read of every (sample, KV head): disjoint intervals, in the order in which units first read them."""
    queries_per_kv_head = spec.q_heads // spec.kv_heads
    reads = sorted(
        (
            (unit.batch, unit.q_head // queries_per_kv_head, keys.begin, keys.end, number)
            for number, (unit, keys) in enumerate(found)
            if keys is not None
        ),
        key=lambda read: read[:3],
    )
    merged: list[tuple[KvInterval, list[int]]] = []
    for batch, kv_head, begin, end, number in reads:
        last = merged[-1] if merged else None
        if last is None or last[0][:2] != (batch, kv_head) or last[0].end < begin:
            merged.append((KvInterval(batch, kv_head, begin, end), [number]))
        else:
            last[1].append(number)
            merged[-1] = (last[0]._replace(end=max(last[0].end, end)), last[1])
    merged.sort(key=lambda entry: min(entry[1]))
    interval_of_unit = [-1] * len(found)
    for index, (_, numbers) in enumerate(merged):
        for number in numbers:
            interval_of_unit[number] = index
    return tuple(interval for interval, _ in merged), tuple(interval_of_unit)


def pair_segments(plan: Plan, table: RankTable, owner: int) -> PairSegments:
    """The rank's units and KV intervals as far as the owner holds their rows, in the table's order; none are empty."""
    q = _shard(plan.spec.q_splits, owner)
    kv = _shard(plan.spec.kv_splits, owner)
    units = [(unit.batch, unit.q_head, unit.q_begin, unit.q_end) for unit in table.units]
    return PairSegments(_cut(units, q), _cut(list(table.kv_intervals), kv))


def _cut(lines: list[tuple[int, int, int, int]] | list[KvInterval], shard: RowRange) -> tuple[Segment, ...]:
    return tuple(
        Segment(index, batch, head, max(begin, shard.begin), min(end, shard.end))
        for index, (batch, head, begin, end) in enumerate(lines)
        if max(begin, shard.begin) < min(end, shard.end)
    )


def _shard(splits: tuple[int, ...], owner: int) -> RowRange:
    begin = sum(splits[:owner])
    return RowRange(begin, begin + splits[owner])
