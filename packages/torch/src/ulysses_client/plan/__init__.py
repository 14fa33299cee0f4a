"""Gather sizes, masks, units and segments: pure arithmetic."""

from .classify_mask import classify_mask, classify_rows, visible_keys
from .exchange_plan import (
    ExchangePlan,
    ExchangeSpec,
    exchange_plan_id,
    split_ranges,
    verify_exchange_plan,
)
from .gather_size import (
    DefaultGatherSizeCalculator,
    DynamicGatherSizeCalculator,
    GatherSizeCalculator,
    custom_gather_size,
)
from .granules import Granule, granules_of
from .head_routing import HeadRouting, kv_head_of_q_head, route_heads
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
    "ExchangePlan",
    "ExchangeSpec",
    "GatherSizeCalculator",
    "Granule",
    "HeadRouting",
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
    "exchange_plan_id",
    "float32",
    "granules_of",
    "kv_head_of_q_head",
    "pair_segments",
    "plan_id_of",
    "plan_text",
    "rank_tables",
    "route_heads",
    "split_offsets",
    "split_ranges",
    "split_sizes",
    "verify_exchange_plan",
    "verify_plan",
    "visible_keys",
]
