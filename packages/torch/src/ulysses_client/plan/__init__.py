"""Gather sizes, masks, units and segments: pure arithmetic."""

from .classify_mask import classify_mask, classify_rows, visible_keys
from .gather_size import (
    DefaultGatherSizeCalculator,
    DynamicGatherSizeCalculator,
    GatherSizeCalculator,
    custom_gather_size,
)
from .rank_table import pair_segments, rank_tables
from .spec import (
    ELEMENT_BYTES,
    DType,
    KvInterval,
    Layout,
    Mask,
    PairSegments,
    Plan,
    RankTable,
    RowRange,
    Segment,
    Segments,
    StepSpec,
    Strategy,
    Unit,
    ValidRanges,
)
from .split_sizes import split_offsets, split_sizes
from .verify_plan import float32, plan_id_of, plan_text, verify_plan

__all__ = [
    "ELEMENT_BYTES",
    "DType",
    "DefaultGatherSizeCalculator",
    "DynamicGatherSizeCalculator",
    "GatherSizeCalculator",
    "KvInterval",
    "Layout",
    "Mask",
    "PairSegments",
    "Plan",
    "RankTable",
    "RowRange",
    "Segment",
    "Segments",
    "StepSpec",
    "Strategy",
    "Unit",
    "ValidRanges",
    "classify_mask",
    "classify_rows",
    "custom_gather_size",
    "float32",
    "pair_segments",
    "plan_id_of",
    "plan_text",
    "rank_tables",
    "split_offsets",
    "split_sizes",
    "verify_plan",
    "visible_keys",
]
