from ulysses_client.generated import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Strategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRATEGY_UNSPECIFIED: _ClassVar[Strategy]
    STRATEGY_HEADS: _ClassVar[Strategy]
    STRATEGY_BALANCED: _ClassVar[Strategy]
STRATEGY_UNSPECIFIED: Strategy
STRATEGY_HEADS: Strategy
STRATEGY_BALANCED: Strategy

class RowRange(_message.Message):
    __slots__ = ("begin", "end")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    begin: int
    end: int
    def __init__(self, begin: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ("left", "right", "cu_seqlens_q", "cu_seqlens_kv", "valid_q", "valid_kv")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    CU_SEQLENS_Q_FIELD_NUMBER: _ClassVar[int]
    CU_SEQLENS_KV_FIELD_NUMBER: _ClassVar[int]
    VALID_Q_FIELD_NUMBER: _ClassVar[int]
    VALID_KV_FIELD_NUMBER: _ClassVar[int]
    left: int
    right: int
    cu_seqlens_q: _containers.RepeatedScalarFieldContainer[int]
    cu_seqlens_kv: _containers.RepeatedScalarFieldContainer[int]
    valid_q: _containers.RepeatedCompositeFieldContainer[RowRange]
    valid_kv: _containers.RepeatedCompositeFieldContainer[RowRange]
    def __init__(self, left: _Optional[int] = ..., right: _Optional[int] = ..., cu_seqlens_q: _Optional[_Iterable[int]] = ..., cu_seqlens_kv: _Optional[_Iterable[int]] = ..., valid_q: _Optional[_Iterable[_Union[RowRange, _Mapping]]] = ..., valid_kv: _Optional[_Iterable[_Union[RowRange, _Mapping]]] = ...) -> None: ...

class StepSpec(_message.Message):
    __slots__ = ("dtype", "layout", "batch", "q_heads", "kv_heads", "head_size", "q_splits", "kv_splits", "mask", "scale", "strategy", "weights")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    Q_HEADS_FIELD_NUMBER: _ClassVar[int]
    KV_HEADS_FIELD_NUMBER: _ClassVar[int]
    HEAD_SIZE_FIELD_NUMBER: _ClassVar[int]
    Q_SPLITS_FIELD_NUMBER: _ClassVar[int]
    KV_SPLITS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    dtype: _tensor_pb2.DType
    layout: _tensor_pb2.Layout
    batch: int
    q_heads: int
    kv_heads: int
    head_size: int
    q_splits: _containers.RepeatedScalarFieldContainer[int]
    kv_splits: _containers.RepeatedScalarFieldContainer[int]
    mask: Mask
    scale: float
    strategy: Strategy
    weights: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, dtype: _Optional[_Union[_tensor_pb2.DType, str]] = ..., layout: _Optional[_Union[_tensor_pb2.Layout, str]] = ..., batch: _Optional[int] = ..., q_heads: _Optional[int] = ..., kv_heads: _Optional[int] = ..., head_size: _Optional[int] = ..., q_splits: _Optional[_Iterable[int]] = ..., kv_splits: _Optional[_Iterable[int]] = ..., mask: _Optional[_Union[Mask, _Mapping]] = ..., scale: _Optional[float] = ..., strategy: _Optional[_Union[Strategy, str]] = ..., weights: _Optional[_Iterable[float]] = ...) -> None: ...

class ExchangeSpec(_message.Message):
    __slots__ = ("dtype", "shape", "scatter_dim", "gather_dim", "scatter_ranges", "gather_ranges")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    SCATTER_DIM_FIELD_NUMBER: _ClassVar[int]
    GATHER_DIM_FIELD_NUMBER: _ClassVar[int]
    SCATTER_RANGES_FIELD_NUMBER: _ClassVar[int]
    GATHER_RANGES_FIELD_NUMBER: _ClassVar[int]
    dtype: _tensor_pb2.DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    scatter_dim: int
    gather_dim: int
    scatter_ranges: _containers.RepeatedCompositeFieldContainer[RowRange]
    gather_ranges: _containers.RepeatedCompositeFieldContainer[RowRange]
    def __init__(self, dtype: _Optional[_Union[_tensor_pb2.DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., scatter_dim: _Optional[int] = ..., gather_dim: _Optional[int] = ..., scatter_ranges: _Optional[_Iterable[_Union[RowRange, _Mapping]]] = ..., gather_ranges: _Optional[_Iterable[_Union[RowRange, _Mapping]]] = ...) -> None: ...

class ExchangePlan(_message.Message):
    __slots__ = ("plan_id", "spec")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    spec: ExchangeSpec
    def __init__(self, plan_id: _Optional[str] = ..., spec: _Optional[_Union[ExchangeSpec, _Mapping]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("plan_id", "cp_size", "spec", "cuts")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    CP_SIZE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    cp_size: int
    spec: StepSpec
    cuts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, plan_id: _Optional[str] = ..., cp_size: _Optional[int] = ..., spec: _Optional[_Union[StepSpec, _Mapping]] = ..., cuts: _Optional[_Iterable[int]] = ...) -> None: ...
