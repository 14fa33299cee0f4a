from ulysses_client.generated import plan_pb2 as _plan_pb2
from ulysses_client.generated import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Keep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEEP_UNSPECIFIED: _ClassVar[Keep]
    KEEP_STORE: _ClassVar[Keep]
    KEEP_NONE: _ClassVar[Keep]
    KEEP_RECOMPUTE: _ClassVar[Keep]

class KvCachePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KV_CACHE_POLICY_UNSPECIFIED: _ClassVar[KvCachePolicy]
    KV_CACHE_POLICY_NONE: _ClassVar[KvCachePolicy]
    KV_CACHE_POLICY_HALF: _ClassVar[KvCachePolicy]
    KV_CACHE_POLICY_FULL: _ClassVar[KvCachePolicy]
    KV_CACHE_POLICY_AUTO: _ClassVar[KvCachePolicy]
KEEP_UNSPECIFIED: Keep
KEEP_STORE: Keep
KEEP_NONE: Keep
KEEP_RECOMPUTE: Keep
KV_CACHE_POLICY_UNSPECIFIED: KvCachePolicy
KV_CACHE_POLICY_NONE: KvCachePolicy
KV_CACHE_POLICY_HALF: KvCachePolicy
KV_CACHE_POLICY_FULL: KvCachePolicy
KV_CACHE_POLICY_AUTO: KvCachePolicy

class StepView(_message.Message):
    __slots__ = ("dtype", "layout", "batch", "q_heads", "kv_heads", "head_size", "q_rows", "kv_rows", "mask", "scale", "strategy", "keep", "attention_mask_lengths", "attention_mask_extent", "gather_size_q", "gather_size_kv", "gather_size_calculator", "calculator_arguments_json", "kv_cache_policy", "kv_cache_budget_bytes", "kv_cache_policy_unaligned", "client_calculator")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    Q_HEADS_FIELD_NUMBER: _ClassVar[int]
    KV_HEADS_FIELD_NUMBER: _ClassVar[int]
    HEAD_SIZE_FIELD_NUMBER: _ClassVar[int]
    Q_ROWS_FIELD_NUMBER: _ClassVar[int]
    KV_ROWS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_MASK_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_MASK_EXTENT_FIELD_NUMBER: _ClassVar[int]
    GATHER_SIZE_Q_FIELD_NUMBER: _ClassVar[int]
    GATHER_SIZE_KV_FIELD_NUMBER: _ClassVar[int]
    GATHER_SIZE_CALCULATOR_FIELD_NUMBER: _ClassVar[int]
    CALCULATOR_ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    KV_CACHE_POLICY_FIELD_NUMBER: _ClassVar[int]
    KV_CACHE_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    KV_CACHE_POLICY_UNALIGNED_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CALCULATOR_FIELD_NUMBER: _ClassVar[int]
    dtype: _tensor_pb2.DType
    layout: _tensor_pb2.Layout
    batch: int
    q_heads: int
    kv_heads: int
    head_size: int
    q_rows: int
    kv_rows: int
    mask: _plan_pb2.Mask
    scale: float
    strategy: _plan_pb2.Strategy
    keep: Keep
    attention_mask_lengths: _containers.RepeatedScalarFieldContainer[int]
    attention_mask_extent: int
    gather_size_q: int
    gather_size_kv: int
    gather_size_calculator: str
    calculator_arguments_json: str
    kv_cache_policy: KvCachePolicy
    kv_cache_budget_bytes: int
    kv_cache_policy_unaligned: bool
    client_calculator: str
    def __init__(self, dtype: _Optional[_Union[_tensor_pb2.DType, str]] = ..., layout: _Optional[_Union[_tensor_pb2.Layout, str]] = ..., batch: _Optional[int] = ..., q_heads: _Optional[int] = ..., kv_heads: _Optional[int] = ..., head_size: _Optional[int] = ..., q_rows: _Optional[int] = ..., kv_rows: _Optional[int] = ..., mask: _Optional[_Union[_plan_pb2.Mask, _Mapping]] = ..., scale: _Optional[float] = ..., strategy: _Optional[_Union[_plan_pb2.Strategy, str]] = ..., keep: _Optional[_Union[Keep, str]] = ..., attention_mask_lengths: _Optional[_Iterable[int]] = ..., attention_mask_extent: _Optional[int] = ..., gather_size_q: _Optional[int] = ..., gather_size_kv: _Optional[int] = ..., gather_size_calculator: _Optional[str] = ..., calculator_arguments_json: _Optional[str] = ..., kv_cache_policy: _Optional[_Union[KvCachePolicy, str]] = ..., kv_cache_budget_bytes: _Optional[int] = ..., kv_cache_policy_unaligned: _Optional[bool] = ..., client_calculator: _Optional[str] = ...) -> None: ...

class ExchangeView(_message.Message):
    __slots__ = ("dtype", "shape", "scatter_dim", "gather_dim", "gather_size", "aligned", "scatter_ranges", "gather_ranges", "purpose", "failure")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    SCATTER_DIM_FIELD_NUMBER: _ClassVar[int]
    GATHER_DIM_FIELD_NUMBER: _ClassVar[int]
    GATHER_SIZE_FIELD_NUMBER: _ClassVar[int]
    ALIGNED_FIELD_NUMBER: _ClassVar[int]
    SCATTER_RANGES_FIELD_NUMBER: _ClassVar[int]
    GATHER_RANGES_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    dtype: _tensor_pb2.DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    scatter_dim: int
    gather_dim: int
    gather_size: int
    aligned: bool
    scatter_ranges: _containers.RepeatedCompositeFieldContainer[_plan_pb2.RowRange]
    gather_ranges: _containers.RepeatedCompositeFieldContainer[_plan_pb2.RowRange]
    purpose: str
    failure: str
    def __init__(self, dtype: _Optional[_Union[_tensor_pb2.DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., scatter_dim: _Optional[int] = ..., gather_dim: _Optional[int] = ..., gather_size: _Optional[int] = ..., aligned: _Optional[bool] = ..., scatter_ranges: _Optional[_Iterable[_Union[_plan_pb2.RowRange, _Mapping]]] = ..., gather_ranges: _Optional[_Iterable[_Union[_plan_pb2.RowRange, _Mapping]]] = ..., purpose: _Optional[str] = ..., failure: _Optional[str] = ...) -> None: ...

class PlanStepRequest(_message.Message):
    __slots__ = ("step", "owner_index", "owner_count", "view", "exchange", "forward", "release_forward", "direct")
    STEP_FIELD_NUMBER: _ClassVar[int]
    OWNER_INDEX_FIELD_NUMBER: _ClassVar[int]
    OWNER_COUNT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FORWARD_FIELD_NUMBER: _ClassVar[int]
    DIRECT_FIELD_NUMBER: _ClassVar[int]
    step: _tensor_pb2.StepKey
    owner_index: int
    owner_count: int
    view: StepView
    exchange: ExchangeView
    forward: _tensor_pb2.StepKey
    release_forward: bool
    direct: bool
    def __init__(self, step: _Optional[_Union[_tensor_pb2.StepKey, _Mapping]] = ..., owner_index: _Optional[int] = ..., owner_count: _Optional[int] = ..., view: _Optional[_Union[StepView, _Mapping]] = ..., exchange: _Optional[_Union[ExchangeView, _Mapping]] = ..., forward: _Optional[_Union[_tensor_pb2.StepKey, _Mapping]] = ..., release_forward: _Optional[bool] = ..., direct: _Optional[bool] = ...) -> None: ...

class RankAddress(_message.Message):
    __slots__ = ("index", "member", "control_address", "tensor_address")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    CONTROL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TENSOR_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    index: int
    member: str
    control_address: str
    tensor_address: str
    def __init__(self, index: _Optional[int] = ..., member: _Optional[str] = ..., control_address: _Optional[str] = ..., tensor_address: _Optional[str] = ...) -> None: ...

class Planned(_message.Message):
    __slots__ = ("epoch", "attempt", "plan", "exchange", "ranks", "padding_rows", "padding_rows_not_exchanged", "kv_cache_policy", "aligned_by_policy")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    PADDING_ROWS_FIELD_NUMBER: _ClassVar[int]
    PADDING_ROWS_NOT_EXCHANGED_FIELD_NUMBER: _ClassVar[int]
    KV_CACHE_POLICY_FIELD_NUMBER: _ClassVar[int]
    ALIGNED_BY_POLICY_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    attempt: int
    plan: _plan_pb2.Plan
    exchange: _plan_pb2.ExchangePlan
    ranks: _containers.RepeatedCompositeFieldContainer[RankAddress]
    padding_rows: int
    padding_rows_not_exchanged: int
    kv_cache_policy: KvCachePolicy
    aligned_by_policy: bool
    def __init__(self, epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., plan: _Optional[_Union[_plan_pb2.Plan, _Mapping]] = ..., exchange: _Optional[_Union[_plan_pb2.ExchangePlan, _Mapping]] = ..., ranks: _Optional[_Iterable[_Union[RankAddress, _Mapping]]] = ..., padding_rows: _Optional[int] = ..., padding_rows_not_exchanged: _Optional[int] = ..., kv_cache_policy: _Optional[_Union[KvCachePolicy, str]] = ..., aligned_by_policy: _Optional[bool] = ...) -> None: ...

class Committed(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PlanStepResponse(_message.Message):
    __slots__ = ("planned", "committed")
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    planned: Planned
    committed: Committed
    def __init__(self, planned: _Optional[_Union[Planned, _Mapping]] = ..., committed: _Optional[_Union[Committed, _Mapping]] = ...) -> None: ...

class SettleStepRequest(_message.Message):
    __slots__ = ("step", "owner_index")
    STEP_FIELD_NUMBER: _ClassVar[int]
    OWNER_INDEX_FIELD_NUMBER: _ClassVar[int]
    step: _tensor_pb2.StepKey
    owner_index: int
    def __init__(self, step: _Optional[_Union[_tensor_pb2.StepKey, _Mapping]] = ..., owner_index: _Optional[int] = ...) -> None: ...

class SettleStepResponse(_message.Message):
    __slots__ = ("committed",)
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    committed: bool
    def __init__(self, committed: _Optional[bool] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: _tensor_pb2.StepKey
    def __init__(self, step: _Optional[_Union[_tensor_pb2.StepKey, _Mapping]] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchMembershipRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchMembershipResponse(_message.Message):
    __slots__ = ("epoch", "cp_size", "complete", "ranks")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CP_SIZE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    cp_size: int
    complete: bool
    ranks: _containers.RepeatedCompositeFieldContainer[RankAddress]
    def __init__(self, epoch: _Optional[int] = ..., cp_size: _Optional[int] = ..., complete: _Optional[bool] = ..., ranks: _Optional[_Iterable[_Union[RankAddress, _Mapping]]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("trace",)
    TRACE_FIELD_NUMBER: _ClassVar[int]
    trace: str
    def __init__(self, trace: _Optional[str] = ...) -> None: ...

class StepTrace(_message.Message):
    __slots__ = ("step", "spans")
    STEP_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    step: _tensor_pb2.StepKey
    spans: _containers.RepeatedCompositeFieldContainer[TraceSpan]
    def __init__(self, step: _Optional[_Union[_tensor_pb2.StepKey, _Mapping]] = ..., spans: _Optional[_Iterable[_Union[TraceSpan, _Mapping]]] = ...) -> None: ...

class TraceSpan(_message.Message):
    __slots__ = ("phase", "begin_us", "end_us")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    BEGIN_US_FIELD_NUMBER: _ClassVar[int]
    END_US_FIELD_NUMBER: _ClassVar[int]
    phase: str
    begin_us: int
    end_us: int
    def __init__(self, phase: _Optional[str] = ..., begin_us: _Optional[int] = ..., end_us: _Optional[int] = ...) -> None: ...

class RankStatus(_message.Message):
    __slots__ = ("rank", "ready", "steps_running", "store_bytes", "store_budget_bytes", "handles", "isa", "lease_age_ms", "traces")
    RANK_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    STEPS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    STORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORE_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    ISA_FIELD_NUMBER: _ClassVar[int]
    LEASE_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    rank: RankAddress
    ready: bool
    steps_running: int
    store_bytes: int
    store_budget_bytes: int
    handles: int
    isa: str
    lease_age_ms: int
    traces: _containers.RepeatedCompositeFieldContainer[StepTrace]
    def __init__(self, rank: _Optional[_Union[RankAddress, _Mapping]] = ..., ready: _Optional[bool] = ..., steps_running: _Optional[int] = ..., store_bytes: _Optional[int] = ..., store_budget_bytes: _Optional[int] = ..., handles: _Optional[int] = ..., isa: _Optional[str] = ..., lease_age_ms: _Optional[int] = ..., traces: _Optional[_Iterable[_Union[StepTrace, _Mapping]]] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("epoch", "cp_size", "complete", "ranks", "steps_running", "steps_committed", "steps_failed", "traces")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CP_SIZE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    STEPS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    STEPS_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    STEPS_FAILED_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    cp_size: int
    complete: bool
    ranks: _containers.RepeatedCompositeFieldContainer[RankStatus]
    steps_running: int
    steps_committed: int
    steps_failed: int
    traces: _containers.RepeatedCompositeFieldContainer[StepTrace]
    def __init__(self, epoch: _Optional[int] = ..., cp_size: _Optional[int] = ..., complete: _Optional[bool] = ..., ranks: _Optional[_Iterable[_Union[RankStatus, _Mapping]]] = ..., steps_running: _Optional[int] = ..., steps_committed: _Optional[int] = ..., steps_failed: _Optional[int] = ..., traces: _Optional[_Iterable[_Union[StepTrace, _Mapping]]] = ...) -> None: ...

class ScaleRequest(_message.Message):
    __slots__ = ("cp_size",)
    CP_SIZE_FIELD_NUMBER: _ClassVar[int]
    cp_size: int
    def __init__(self, cp_size: _Optional[int] = ...) -> None: ...

class ScaleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("rank",)
    RANK_FIELD_NUMBER: _ClassVar[int]
    rank: int
    def __init__(self, rank: _Optional[int] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
