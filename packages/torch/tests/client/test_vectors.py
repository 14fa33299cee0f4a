"""Spec and cuts give the ids, tables and segments that every other implementation gets."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ulysses_client.errors import PlanInvalidError
from ulysses_client.plan import (
    Mask,
    Plan,
    RowRange,
    Segments,
    StepSpec,
    ValidRanges,
    granules_of,
    pair_segments,
    plan_text,
    rank_tables,
    verify_plan,
)

VECTORS = json.loads((Path(__file__).parents[3] / "plan/vectors/plans.json").read_text())


def plan_of(vector: dict[str, Any]) -> Plan:
    spec = vector["spec"]
    mask, segments, ranges = spec["mask"], spec["mask"]["segments"], spec["mask"]["validRanges"]

    def both(each: list[dict[str, int]]) -> tuple[RowRange, ...]:
        return tuple(RowRange(row["begin"], row["end"]) for row in each)

    return Plan(
        vector["planId"],
        vector["cpSize"],
        StepSpec(
            spec["dtype"],
            spec["layout"],
            spec["batch"],
            spec["qHeads"],
            spec["kvHeads"],
            spec["headSize"],
            tuple(spec["qSplits"]),
            tuple(spec["kvSplits"]),
            Mask(
                mask["left"],
                mask["right"],
                segments and Segments(tuple(segments["cuSeqlensQ"]), tuple(segments["cuSeqlensKv"])),
                ranges and ValidRanges(both(ranges["q"]), both(ranges["kv"])),
            ),
            spec["scale"],
            spec["strategy"],
            None if spec["weights"] is None else tuple(spec["weights"]),
        ),
        tuple(vector["cuts"]),
    )


each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])


@each_vector
def test_spec_and_cuts_give_the_plan_id(vector: dict[str, Any]) -> None:
    plan = plan_of(vector)
    assert plan_text(plan.spec, plan.cp_size, plan.cuts) == vector["planText"]
    verify_plan(plan)


@each_vector
def test_spec_and_cuts_give_the_tables(vector: dict[str, Any]) -> None:
    digests = []
    for table in rank_tables(plan_of(vector)):
        units = zip(table.units, table.kv_interval_of_unit, strict=True)
        lines = [f"unit {' '.join(map(str, unit))} {interval}\n" for unit, interval in units]
        lines += [f"kv {' '.join(map(str, interval))}\n" for interval in table.kv_intervals]
        digests.append(hashlib.sha256("".join(lines).encode()).hexdigest())
    assert digests == vector["tableDigests"]


@each_vector
def test_spec_and_cuts_give_the_segments_of_every_owner(vector: dict[str, Any]) -> None:
    plan = plan_of(vector)
    digests = []
    for owner in range(len(plan.spec.q_splits)):
        lines = []
        for table in rank_tables(plan):
            pair = pair_segments(plan, table, owner)
            lines.append(f"rank {table.rank}\n")
            lines += [f"q {' '.join(map(str, segment))}\n" for segment in pair.q]
            lines += [f"kv {' '.join(map(str, segment))}\n" for segment in pair.kv]
        digests.append(hashlib.sha256("".join(lines).encode()).hexdigest())
    assert digests == vector["segmentDigests"]


@each_vector
def test_spec_and_cuts_give_the_granules_of_every_rank(vector: dict[str, Any]) -> None:
    plan = plan_of(vector)
    digests = []
    for granules in granules_of(plan, rank_tables(plan)):
        lines = [
            f"granule {unit} {begin} {end} {' '.join(map(str, keys or '--'))}\n" for unit, begin, end, keys in granules
        ]
        digests.append(hashlib.sha256("".join(lines).encode()).hexdigest())
    assert digests == vector["granuleDigests"]


@each_vector
def test_another_id_and_other_cuts_are_refused(vector: dict[str, Any]) -> None:
    plan = plan_of(vector)
    with pytest.raises(PlanInvalidError) as refused:
        verify_plan(Plan("0" * 64, plan.cp_size, plan.spec, plan.cuts))
    assert refused.value.field == "plan_id"
    with pytest.raises(PlanInvalidError):
        verify_plan(Plan(plan.plan_id, plan.cp_size, plan.spec, (*plan.cuts[:-1], plan.cuts[-1] + 1)))
