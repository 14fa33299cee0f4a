"""Plans, views and errors from and to their messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from ..errors import PlanInvalidError, UlyssesError, UnsupportedError, error_of, field_error
from ..generated import coordinator_pb2, plan_pb2, tensor_pb2
from ..plan import (
    DType,
    ExchangePlan,
    ExchangeSpec,
    Layout,
    Mask,
    Plan,
    RowRange,
    Segments,
    StepSpec,
    Strategy,
    ValidRanges,
)

#: What is kept for backward. store: on the ranks, what the KV-cache policy says; recompute: nothing, backward brings q,
#: k and v again; none: nothing, and there is no backward.
Keep = Literal["store", "recompute", "none"]
#: How much of K and V ranks do not keep gathered but get again in backward: nothing, K, or both.
KvCachePolicy = Literal["none", "half", "full"]
KvCacheChoice = Literal["none", "half", "full", "auto"]
PassName = Literal["forward", "backward"]
Name = TypeVar("Name", bound=str)

_DTYPES: dict[DType, int] = {"f32": 1, "bf16": 2, "f16": 3}
_LAYOUTS: dict[Layout, int] = {"sbhd": 1, "bshd": 2, "thd": 3}
_STRATEGIES: dict[Strategy, int] = {"heads": 1, "balanced": 2}
_KEEPS: dict[Keep, int] = {"store": 1, "none": 2, "recompute": 3}
_POLICIES: dict[KvCachePolicy, int] = {"none": 1, "half": 2, "full": 3}
_CHOICES: dict[KvCacheChoice, int] = {"none": 1, "half": 2, "full": 3, "auto": 4}
_NOT_GATHERED: dict[KvCachePolicy, str] = {"none": "", "half": "k", "full": "kv"}

PASSES: dict[PassName, int] = {"forward": 1, "backward": 2}


@dataclass(frozen=True)
class StepKey:
    """Names one step; the first four identify it across epochs."""

    job: str
    session: str
    call: int
    passing: PassName
    attempt: int

    def to_proto(self) -> tensor_pb2.StepKey:
        return tensor_pb2.StepKey(
            job=self.job,
            session=self.session,
            call=self.call,
            **{"pass": PASSES[self.passing]},
            attempt=self.attempt,
        )


@dataclass(frozen=True)
class StepView:
    """The step as one sequence owner sees it."""

    dtype: DType
    layout: Layout
    batch: int
    q_heads: int
    kv_heads: int
    head_size: int
    #: Rows of this owner's shard, before any gather size is applied.
    q_rows: int
    kv_rows: int
    mask: Mask
    scale: float
    strategy: Strategy | None
    keep: Keep
    attention_mask_lengths: tuple[int, ...] | None = None
    attention_mask_extent: int | None = None
    gather_size_q: int | None = None
    gather_size_kv: int | None = None
    #: `default` or `dynamic`; None: the coordinator's own, or the sizes above.
    gather_size_calculator: str | None = None
    #: Name of the calculator that ran here: sizes that it left out mean an aligned exchange.
    client_calculator: str | None = None
    #: None: the cluster's default, as for the budget of policy auto.
    kv_cache_policy: KvCacheChoice | None = None
    kv_cache_budget_bytes: int | None = None
    #: Policies half and full leave the exchange unaligned.
    kv_cache_policy_unaligned: bool = False

    def to_proto(self) -> coordinator_pb2.StepView:
        return coordinator_pb2.StepView(
            dtype=_DTYPES[self.dtype],  # type: ignore[arg-type]
            layout=_LAYOUTS[self.layout],  # type: ignore[arg-type]
            batch=self.batch,
            q_heads=self.q_heads,
            kv_heads=self.kv_heads,
            head_size=self.head_size,
            q_rows=self.q_rows,
            kv_rows=self.kv_rows,
            mask=_mask_to_proto(self.mask),
            scale=self.scale,
            strategy=0 if self.strategy is None else _STRATEGIES[self.strategy],  # type: ignore[arg-type]
            keep=_KEEPS[self.keep],  # type: ignore[arg-type]
            attention_mask_lengths=self.attention_mask_lengths or (),
            attention_mask_extent=self.attention_mask_extent,
            gather_size_q=self.gather_size_q,
            gather_size_kv=self.gather_size_kv,
            gather_size_calculator=self.gather_size_calculator or "",
            client_calculator=self.client_calculator or "",
            kv_cache_policy=0 if self.kv_cache_policy is None else _CHOICES[self.kv_cache_policy],  # type: ignore[arg-type]
            kv_cache_budget_bytes=self.kv_cache_budget_bytes,
            kv_cache_policy_unaligned=self.kv_cache_policy_unaligned,
        )


@dataclass(frozen=True)
class ExchangeView:
    """An exchange alone as one sequence owner sees it; there is one owner per rank."""

    dtype: DType
    #: Extents of this owner's shard.
    shape: tuple[int, ...]
    scatter_dim: int
    gather_dim: int
    #: Extent of the gather dimension afterwards; None: all rows of all shards.
    gather_size: int | None
    #: Shards must be equal and the scatter dimension must divide.
    aligned: bool
    #: None: equal parts, the remainder one each to the lowest owners.
    scatter_ranges: tuple[RowRange, ...] | None
    #: None: shards follow each other in owner order.
    gather_ranges: tuple[RowRange, ...] | None
    #: What it is for, in words of the callers' own; the same text on all owners.
    purpose: str | None
    #: Why this owner cannot take part: the step ends at once for all owners, with this one's name.
    failure: str | None = None

    def to_proto(self) -> coordinator_pb2.ExchangeView:
        return coordinator_pb2.ExchangeView(
            dtype=_DTYPES[self.dtype],  # type: ignore[arg-type]
            shape=self.shape,
            scatter_dim=self.scatter_dim,
            gather_dim=self.gather_dim,
            gather_size=self.gather_size,
            aligned=self.aligned,
            scatter_ranges=[_range_to_proto(each) for each in self.scatter_ranges or ()],
            gather_ranges=[_range_to_proto(each) for each in self.gather_ranges or ()],
            purpose=self.purpose or "",
            failure=self.failure or "",
        )


@dataclass(frozen=True)
class RankAddress:
    rank: int
    member: str
    tensor_address: str


@dataclass(frozen=True)
class Planned:
    """The coordinator's answer: under which attempt, with whom and by which plan the step runs."""

    epoch: int
    attempt: int
    plan: Plan | ExchangePlan
    ranks: tuple[RankAddress, ...]
    padding_rows: int
    padding_rows_not_exchanged: int
    kv_cache_policy: KvCachePolicy
    aligned_by_policy: bool


def planned_from_proto(message: coordinator_pb2.Planned) -> Planned:
    return Planned(
        message.epoch,
        message.attempt,
        exchange_plan_from_proto(message.exchange) if message.HasField("exchange") else plan_from_proto(message.plan),
        tuple(RankAddress(rank.index, rank.member, rank.tensor_address) for rank in message.ranks),
        message.padding_rows,
        message.padding_rows_not_exchanged,
        _name(_POLICIES, message.kv_cache_policy, "kv_cache_policy"),
        message.aligned_by_policy,
    )


def carried_tensors(keep: Keep, policy: KvCachePolicy) -> str:
    """Names of the inputs that backward brings beside dout."""
    return "qkv" if keep == "recompute" else _NOT_GATHERED[policy]


def plan_from_proto(message: plan_pb2.Plan) -> Plan:
    """Shapes only: whether the plan is right is for `verify_plan` to say."""
    spec = message.spec
    return Plan(
        message.plan_id,
        message.cp_size,
        StepSpec(
            _name(_DTYPES, spec.dtype, "dtype"),
            _name(_LAYOUTS, spec.layout, "layout"),
            spec.batch,
            spec.q_heads,
            spec.kv_heads,
            spec.head_size,
            tuple(spec.q_splits),
            tuple(spec.kv_splits),
            _mask_from_proto(spec.mask),
            spec.scale,
            _name(_STRATEGIES, spec.strategy, "strategy"),
            tuple(spec.weights) or None,
        ),
        tuple(message.cuts),
    )


def exchange_plan_from_proto(message: plan_pb2.ExchangePlan) -> ExchangePlan:
    """Shapes only: whether the plan is right is for `verify_exchange_plan` to say."""
    spec = message.spec

    def ranges(messages: Iterable[plan_pb2.RowRange]) -> tuple[RowRange, ...]:
        return tuple(RowRange(each.begin, each.end) for each in messages)

    return ExchangePlan(
        message.plan_id,
        ExchangeSpec(
            _name(_DTYPES, spec.dtype, "dtype"),
            tuple(spec.shape),
            spec.scatter_dim,
            spec.gather_dim,
            ranges(spec.scatter_ranges),
            ranges(spec.gather_ranges),
        ),
    )


def error_from_proto(message: tensor_pb2.Error) -> UlyssesError:
    return error_of(message.code, message.message, dict(message.details))


def _name(words: dict[Name, int], number: int, field: str) -> Name:
    for word, each in words.items():
        if each == number:
            return word
    raise field_error(UnsupportedError, field, number, f"one of {', '.join(words)}")


def _mask_to_proto(mask: Mask) -> plan_pb2.Mask:
    segments, ranges = mask.segments, mask.valid_ranges
    return plan_pb2.Mask(
        left=mask.left,
        right=mask.right,
        cu_seqlens_q=() if segments is None else segments.cu_seqlens_q,
        cu_seqlens_kv=() if segments is None else segments.cu_seqlens_kv,
        valid_q=() if ranges is None else [_range_to_proto(each) for each in ranges.q],
        valid_kv=() if ranges is None else [_range_to_proto(each) for each in ranges.kv],
    )


def _range_to_proto(each: RowRange) -> plan_pb2.RowRange:
    return plan_pb2.RowRange(begin=each.begin, end=each.end)


def _mask_from_proto(mask: plan_pb2.Mask) -> Mask:
    if bool(mask.cu_seqlens_q) != bool(mask.cu_seqlens_kv) or bool(mask.valid_q) != bool(mask.valid_kv):
        expected = "lists for queries and keys together, or neither"
        raise field_error(PlanInvalidError, "mask", "a mask with one list of two", expected)
    segments = Segments(tuple(mask.cu_seqlens_q), tuple(mask.cu_seqlens_kv)) if mask.cu_seqlens_q else None
    ranges = (
        ValidRanges(
            tuple(RowRange(each.begin, each.end) for each in mask.valid_q),
            tuple(RowRange(each.begin, each.end) for each in mask.valid_kv),
        )
        if mask.valid_q
        else None
    )
    left = mask.left if mask.HasField("left") else None
    right = mask.right if mask.HasField("right") else None
    return Mask(left, right, segments, ranges)


def pass_name(number: int) -> PassName:
    return "forward" if number == PASSES["forward"] else "backward"
