from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    D_TYPE_UNSPECIFIED: _ClassVar[DType]
    D_TYPE_F32: _ClassVar[DType]
    D_TYPE_BF16: _ClassVar[DType]
    D_TYPE_F16: _ClassVar[DType]

class Layout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAYOUT_UNSPECIFIED: _ClassVar[Layout]
    LAYOUT_SBHD: _ClassVar[Layout]
    LAYOUT_BSHD: _ClassVar[Layout]
    LAYOUT_THD: _ClassVar[Layout]

class Pass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PASS_UNSPECIFIED: _ClassVar[Pass]
    PASS_FORWARD: _ClassVar[Pass]
    PASS_BACKWARD: _ClassVar[Pass]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_RANK: _ClassVar[Role]
    ROLE_OWNER: _ClassVar[Role]

class Tensor(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TENSOR_UNSPECIFIED: _ClassVar[Tensor]
    TENSOR_Q: _ClassVar[Tensor]
    TENSOR_K: _ClassVar[Tensor]
    TENSOR_V: _ClassVar[Tensor]
    TENSOR_OUT: _ClassVar[Tensor]
    TENSOR_LSE: _ClassVar[Tensor]
    TENSOR_DOUT: _ClassVar[Tensor]
    TENSOR_DQ: _ClassVar[Tensor]
    TENSOR_DK: _ClassVar[Tensor]
    TENSOR_DV: _ClassVar[Tensor]
    TENSOR_EXCHANGED: _ClassVar[Tensor]
D_TYPE_UNSPECIFIED: DType
D_TYPE_F32: DType
D_TYPE_BF16: DType
D_TYPE_F16: DType
LAYOUT_UNSPECIFIED: Layout
LAYOUT_SBHD: Layout
LAYOUT_BSHD: Layout
LAYOUT_THD: Layout
PASS_UNSPECIFIED: Pass
PASS_FORWARD: Pass
PASS_BACKWARD: Pass
ROLE_UNSPECIFIED: Role
ROLE_RANK: Role
ROLE_OWNER: Role
TENSOR_UNSPECIFIED: Tensor
TENSOR_Q: Tensor
TENSOR_K: Tensor
TENSOR_V: Tensor
TENSOR_OUT: Tensor
TENSOR_LSE: Tensor
TENSOR_DOUT: Tensor
TENSOR_DQ: Tensor
TENSOR_DK: Tensor
TENSOR_DV: Tensor
TENSOR_EXCHANGED: Tensor

class StepKey(_message.Message):
    __slots__ = ("job", "session", "call", "attempt")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    PASS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    job: str
    session: str
    call: int
    attempt: int
    def __init__(self, job: _Optional[str] = ..., session: _Optional[str] = ..., call: _Optional[int] = ..., attempt: _Optional[int] = ..., **kwargs) -> None: ...

class Party(_message.Message):
    __slots__ = ("role", "index")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    role: Role
    index: int
    def __init__(self, role: _Optional[_Union[Role, str]] = ..., index: _Optional[int] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    details: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...
