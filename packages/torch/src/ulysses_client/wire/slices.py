"""Slice messages without a copy of their payload in encode or decode buffers.

Protobuf's own classes would copy a payload once more each way. So a message is written straight into the bytes that
gRPC sends, rows packed in place; and only the fields before the payload, which is last, are decoded by protobuf.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InvariantError
from ..generated import tensor_pb2, tensor_plane_pb2
from .convert import StepKey, pass_name

Bytes = npt.NDArray[np.uint8]

#: Most payload bytes of one message: what ranks send, and their HTTP/2 frame size.
CHUNK_BYTES = 512 << 10
ROLE_RANK, ROLE_OWNER = 1, 2
TENSORS = {"q": 1, "k": 2, "v": 3, "out": 4, "lse": 5, "dout": 6, "dq": 7, "dk": 8, "dv": 9, "exchanged": 10}
TENSOR_NAMES = {number: name for name, number in TENSORS.items()}

_SLICE_TAG = 0x0A
_PAYLOAD_TAG = 0x7A
_LENGTH_DELIMITED = 2

# A bytes object that nobody else has seen may be filled, says the C API; there is no other way to send what was packed
# in place.
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype = ctypes.py_object
_new_bytes.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
_address_of = ctypes.pythonapi.PyBytes_AsString
_address_of.restype = ctypes.c_void_p
_address_of.argtypes = [ctypes.py_object]


def chunks_of(rows: Bytes) -> Iterator[tuple[int, Bytes]]:
    """A segment's rows, uint8 [rows, row_bytes] of any stride, as pieces of one message each, with their offsets."""
    count, row_bytes = rows.shape
    if row_bytes > CHUNK_BYTES:
        for row in range(count):
            for begin in range(0, row_bytes, CHUNK_BYTES):
                yield row * row_bytes + begin, rows[row : row + 1, begin : begin + CHUNK_BYTES]
        return
    step = CHUNK_BYTES // max(1, row_bytes)
    for first in range(0, count, step):
        yield first * row_bytes, rows[first : first + step]


def encode_slice(
    epoch: int,
    key: StepKey,
    owner: int,
    peer: int,
    tensor: str,
    segment: int,
    segment_bytes: int,
    offset_bytes: int,
    piece: Bytes,
) -> bytes:
    """One PushRequest: a piece of a segment, uint8 [rows, bytes] of any stride, to a rank or another owner."""
    fields = tensor_plane_pb2.Slice(
        epoch=epoch,
        step=key.to_proto(),
        source=tensor_pb2.Party(role=ROLE_OWNER, index=owner),  # type: ignore[arg-type]
        destination=tensor_pb2.Party(role=peer_role(tensor), index=peer),  # type: ignore[arg-type]
        tensor=TENSORS[tensor],  # type: ignore[arg-type]
        segment=segment,
        offset_bytes=offset_bytes,
        segment_bytes=segment_bytes,
    ).SerializeToString()
    fields += bytes((_PAYLOAD_TAG,)) + _varint(piece.size)
    head = bytes((_SLICE_TAG,)) + _varint(len(fields) + piece.size) + fields
    message: bytes = _new_bytes(None, len(head) + piece.size)
    view = _writable(message)
    view[: len(head)] = np.frombuffer(head, np.uint8)
    np.copyto(view[len(head) :].reshape(piece.shape), piece)
    return message


def peer_role(tensor: str) -> int:
    """Who is at the other end: an exchange alone goes from owner to owner, all else between an owner and a rank."""
    return ROLE_OWNER if tensor == "exchanged" else ROLE_RANK


class SliceHead(NamedTuple):
    """What a slice says of itself before its payload."""

    epoch: int
    key: StepKey
    source: int
    tensor: str
    segment: int
    offset_bytes: int
    segment_bytes: int


def decode_slice(message: bytes) -> tuple[SliceHead, Bytes]:
    """Head and payload (a view) of one PullResponse."""
    tag, at = _read_varint(message, 0)
    length, at = _read_varint(message, at)
    if tag != _SLICE_TAG or at + length != len(message):
        raise InvariantError(f"a PullResponse that is not one slice: tag {tag}, {length} of {len(message)} bytes")
    begin = at
    while True:
        field = at
        tag, at = _read_varint(message, at)
        if tag & 7 != _LENGTH_DELIMITED:
            _, at = _read_varint(message, at)
            continue
        length, at = _read_varint(message, at)
        if tag == _PAYLOAD_TAG:
            break
        at += length
    if at + length != len(message):
        raise InvariantError("a slice whose payload is not its last field")
    head = tensor_plane_pb2.Slice.FromString(message[begin:field])
    step = head.step
    key = StepKey(step.job, step.session, step.call, pass_name(getattr(step, "pass")), step.attempt)
    tensor = TENSOR_NAMES.get(head.tensor, "")
    name = SliceHead(head.epoch, key, head.source.index, tensor, head.segment, head.offset_bytes, head.segment_bytes)
    return name, np.frombuffer(message, np.uint8, offset=at)


def place_payload(rows: Bytes, offset_bytes: int, payload: Bytes) -> None:
    """Copies bytes of a segment from `offset_bytes` on into its rows, uint8 [rows, row_bytes] of any row stride."""
    row_bytes = rows.shape[1]
    row, within = divmod(offset_bytes, row_bytes)
    if within:
        count = min(row_bytes - within, payload.size)
        rows[row, within : within + count] = payload[:count]
        payload = payload[count:]
        row += 1
    whole, rest = divmod(payload.size, row_bytes)
    if whole:
        np.copyto(rows[row : row + whole], payload[: whole * row_bytes].reshape(whole, row_bytes))
    if rest:
        rows[row + whole, :rest] = payload[whole * row_bytes :]


def _writable(message: bytes) -> Bytes:
    buffer = (ctypes.c_uint8 * len(message)).from_address(_address_of(message))
    return np.frombuffer(memoryview(buffer), np.uint8)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise InvariantError("a slice that ends inside a field")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
