"""Slices against protobuf's own classes, and errors against their table."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulysses_client.errors import ERROR_CLASSES, InvariantError, ShapeMismatchError, error_of, field_error
from ulysses_client.generated import tensor_pb2, tensor_plane_pb2
from ulysses_client.wire.convert import StepKey
from ulysses_client.wire.slices import CHUNK_BYTES, TENSORS, chunks_of, decode_slice, encode_slice, place_payload

KEY = StepKey("job", "session", 7, "backward", 2)
TABLE = Path(__file__).parents[4] / "packages/errors/src/codes.ts"


def test_every_code_of_the_table_has_a_class_and_no_other() -> None:
    rows = re.findall(r"^  ([A-Z_]+): \{ status: \d+, retryable: (true|false) \}", TABLE.read_text(), re.M)
    assert {code: retryable == "true" for code, retryable in rows} == {
        code: error.retryable for code, error in ERROR_CLASSES.items()
    }


def test_an_error_names_field_value_and_expectation() -> None:
    error = field_error(ShapeMismatchError, "q.shape", [3, 1], "four dimensions")
    assert str(error) == "SHAPE_MISMATCH: q.shape is [3, 1], expected four dimensions"
    assert (error.field, error.value, error.expected) == ("q.shape", "[3, 1]", "four dimensions")


def test_an_unknown_code_is_an_invariant_that_names_it() -> None:
    assert isinstance(error_of("NEW_CODE", "text"), InvariantError)
    assert "NEW_CODE" in str(error_of("NEW_CODE", "text"))


@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 8), st.integers(0, 2**40), st.booleans())
def test_a_slice_is_what_protobuf_makes_of_it(
    count: int, row_bytes: int, segment: int, epoch: int, strided: bool
) -> None:
    memory = np.arange(20 * 2 * row_bytes).astype(np.uint8).reshape(20, 2, row_bytes)
    rows = memory[:, 1] if strided else memory[:10].reshape(20, row_bytes)
    piece = rows[4 : 4 + count]
    message = encode_slice(epoch, KEY, 3, 1, "dout", segment, 20 * row_bytes, 4 * row_bytes, piece)
    expected = tensor_plane_pb2.Slice(
        epoch=epoch,
        step=KEY.to_proto(),
        source=tensor_pb2.Party(role="ROLE_OWNER", index=3),
        destination=tensor_pb2.Party(role="ROLE_RANK", index=1),
        tensor="TENSOR_DOUT",
        segment=segment,
        offset_bytes=4 * row_bytes,
        segment_bytes=20 * row_bytes,
        payload=rows[4 : 4 + count].tobytes(),
    )
    assert message == tensor_plane_pb2.PushRequest(slice=expected).SerializeToString()


@given(st.binary(max_size=400), st.sampled_from(sorted(TENSORS)))
def test_a_slice_is_read_as_protobuf_reads_it(payload: bytes, tensor: str) -> None:
    source = tensor_pb2.Party(role="ROLE_RANK", index=2)
    slice_ = tensor_plane_pb2.Slice(
        epoch=5, step=KEY.to_proto(), source=source, tensor=TENSORS[tensor], segment=3, segment_bytes=900
    )
    slice_.payload = payload
    if not payload:
        # Ranks announce an empty payload; protobuf leaves it out.
        return
    head, rows = decode_slice(tensor_plane_pb2.PullResponse(slice=slice_).SerializeToString())
    assert head == (5, KEY, 2, tensor, 3, 0, 900)
    assert rows.tobytes() == payload


@pytest.mark.parametrize("tensor", sorted(TENSORS))
def test_only_what_is_exchanged_alone_goes_to_an_owner(tensor: str) -> None:
    message = encode_slice(1, KEY, 0, 2, tensor, 0, 8, 0, np.zeros((1, 8), np.uint8))
    destination = tensor_plane_pb2.PushRequest.FromString(message).slice.destination
    role = "ROLE_OWNER" if tensor == "exchanged" else "ROLE_RANK"
    assert destination == tensor_pb2.Party(role=role, index=2)


@pytest.mark.parametrize(("rows", "row_bytes"), [(5, CHUNK_BYTES // 2 - 3), (3, 2 * CHUNK_BYTES + 1), (0, 8), (4, 0)])
def test_a_segment_is_cut_into_messages_of_at_most_one_chunk(rows: int, row_bytes: int) -> None:
    segment = np.random.default_rng(0).integers(0, 256, (rows, row_bytes + 1), np.uint8)[:, 1:]
    landed = bytearray(segment.size)
    for offset, piece in chunks_of(segment):
        assert piece.size <= CHUNK_BYTES
        landed[offset : offset + piece.size] = piece.tobytes()
    assert landed == segment.tobytes()


@pytest.mark.parametrize("cut", [1, 2, 5, 20, -1])
def test_a_cut_slice_is_refused(cut: int) -> None:
    message = encode_slice(1, KEY, 0, 0, "q", 0, 24, 0, np.zeros((3, 8), np.uint8))
    with pytest.raises(InvariantError):
        decode_slice(message[:cut])


@given(st.integers(1, 6), st.integers(1, 5), st.lists(st.integers(1, 9), max_size=12))
def test_payload_cut_anywhere_lands_in_its_rows(rows: int, row_bytes: int, cuts: list[int]) -> None:
    expected = np.arange(1, rows * row_bytes + 1).astype(np.uint8)
    memory = np.zeros((rows, 3, row_bytes), np.uint8)
    at = 0
    for size in [*cuts, expected.size]:
        place_payload(memory[:, 1], at, expected[at : at + size])
        at = min(at + size, expected.size)
        if at == expected.size:
            break
    assert (memory[:, 1].reshape(-1) == expected).all()
    assert not memory[:, [0, 2]].any()
