from ulysses_client.generated import tensor_pb2 as _tensor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Slice(_message.Message):
    __slots__ = ("epoch", "step", "source", "destination", "tensor", "segment", "offset_bytes", "segment_bytes", "shared", "payload")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    step: _tensor_pb2.StepKey
    source: _tensor_pb2.Party
    destination: _tensor_pb2.Party
    tensor: _tensor_pb2.Tensor
    segment: int
    offset_bytes: int
    segment_bytes: int
    shared: SharedRows
    payload: bytes
    def __init__(self, epoch: _Optional[int] = ..., step: _Optional[_Union[_tensor_pb2.StepKey, _Mapping]] = ..., source: _Optional[_Union[_tensor_pb2.Party, _Mapping]] = ..., destination: _Optional[_Union[_tensor_pb2.Party, _Mapping]] = ..., tensor: _Optional[_Union[_tensor_pb2.Tensor, str]] = ..., segment: _Optional[int] = ..., offset_bytes: _Optional[int] = ..., segment_bytes: _Optional[int] = ..., shared: _Optional[_Union[SharedRows, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class SharedRows(_message.Message):
    __slots__ = ("offset_bytes", "rows", "row_bytes", "row_stride_bytes")
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ROW_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROW_STRIDE_BYTES_FIELD_NUMBER: _ClassVar[int]
    offset_bytes: int
    rows: int
    row_bytes: int
    row_stride_bytes: int
    def __init__(self, offset_bytes: _Optional[int] = ..., rows: _Optional[int] = ..., row_bytes: _Optional[int] = ..., row_stride_bytes: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("epoch", "step", "source", "destination", "bytes", "error")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    step: _tensor_pb2.StepKey
    source: _tensor_pb2.Party
    destination: _tensor_pb2.Party
    bytes: int
    error: _tensor_pb2.Error
    def __init__(self, epoch: _Optional[int] = ..., step: _Optional[_Union[_tensor_pb2.StepKey, _Mapping]] = ..., source: _Optional[_Union[_tensor_pb2.Party, _Mapping]] = ..., destination: _Optional[_Union[_tensor_pb2.Party, _Mapping]] = ..., bytes: _Optional[int] = ..., error: _Optional[_Union[_tensor_pb2.Error, _Mapping]] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("slice",)
    SLICE_FIELD_NUMBER: _ClassVar[int]
    slice: Slice
    def __init__(self, slice: _Optional[_Union[Slice, _Mapping]] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("ack", "released")
    ACK_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    ack: Ack
    released: int
    def __init__(self, ack: _Optional[_Union[Ack, _Mapping]] = ..., released: _Optional[int] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("ack", "released")
    ACK_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    ack: Ack
    released: int
    def __init__(self, ack: _Optional[_Union[Ack, _Mapping]] = ..., released: _Optional[int] = ...) -> None: ...

class PullResponse(_message.Message):
    __slots__ = ("slice",)
    SLICE_FIELD_NUMBER: _ClassVar[int]
    slice: Slice
    def __init__(self, slice: _Optional[_Union[Slice, _Mapping]] = ...) -> None: ...
