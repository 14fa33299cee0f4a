"""How often a row is copied between a tensor's memory and what gRPC is handed, or hands over.

A copy needs memory to go to, and one made from another lies beside it for a moment. So what is allocated while a
message is made or placed counts its copies: the message itself is the one on the way out, the tensor the one on the
way in.
"""

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.cluster import TestCluster
from tests.conftest import has_native
from ulysses_client.attention_step import QkvShards, forward
from ulysses_client.cluster import Cluster, connect
from ulysses_client.exchange.owner_exchange import Receive
from ulysses_client.exchange.step_channel import StepChannel
from ulysses_client.generated import tensor_pb2, tensor_plane_pb2
from ulysses_client.plan import Mask
from ulysses_client.run_step import StepOutcome
from ulysses_client.wire.convert import StepKey
from ulysses_client.wire.slices import CHUNK_BYTES, Bytes, chunks_of, decode_slice, encode_slice

from .test_exchange import inputs, view_of

KEY = StepKey("job", "session", 0, "forward", 0)
#: Heads of messages, views and the like.
SMALL_BYTES = 32 << 10
#: Neither rows of one chunk nor chunks of one row, but both.
SHAPES = [(40_000, 64), (3, CHUNK_BYTES + CHUNK_BYTES // 2)]
#: [s, h, d] as it is, and rows of a head that follow each other in memory.
STRIDES: list[Callable[[Bytes], Bytes]] = [lambda rows: rows[:, 1], lambda rows: rows.transpose(1, 0, 2).copy()[1]]


@contextmanager
def allocations() -> Iterator[Callable[[], int]]:
    """Yields a function that says the most bytes that were allocated at once since it was last called."""
    tracemalloc.start()
    try:

        def peak() -> int:
            now, most = tracemalloc.get_traced_memory()
            grown, base[0] = most - base[0], now
            tracemalloc.reset_peak()
            return grown

        base = [0]
        peak()
        yield peak
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("strided", STRIDES, ids=["strided", "dense"])
@pytest.mark.parametrize(("count", "row_bytes"), SHAPES)
def test_rows_are_copied_once_into_what_grpc_is_handed(
    count: int, row_bytes: int, strided: Callable[[Bytes], Bytes]
) -> None:
    rows = strided(np.ones((count, 3, row_bytes), np.uint8))
    sent = 0
    with allocations() as peak:
        for offset, piece in chunks_of(rows):
            message = encode_slice(1, KEY, 0, 1, "q", 0, rows.size, offset, piece)
            assert len(message) <= peak() < len(message) + SMALL_BYTES < 2 * len(message)
            sent += piece.size
            del message
            peak()
    assert sent == rows.size


@pytest.mark.parametrize("strided", STRIDES, ids=["strided", "dense"])
@pytest.mark.parametrize(("count", "row_bytes"), SHAPES)
def test_what_grpc_hands_over_is_copied_straight_to_its_rows(
    count: int, row_bytes: int, strided: Callable[[Bytes], Bytes]
) -> None:
    rows = strided(np.zeros((count, 3, row_bytes), np.uint8))
    channel = StepChannel(KEY, 1, [Receive(2, "out", 0, rows)], [])
    payload = np.random.default_rng(0).integers(0, 256, rows.size, np.uint8)
    with allocations() as peak:
        for offset in range(0, rows.size, CHUNK_BYTES):
            message = received(offset, rows.size, payload[offset : offset + CHUNK_BYTES])
            peak()
            channel.place(*decode_slice(message))
            assert peak() < SMALL_BYTES < len(message)
    assert (rows.reshape(-1) == payload).all()


def received(offset: int, segment_bytes: int, payload: Bytes) -> bytes:
    """One PullResponse, as a rank sends it."""
    slice_ = tensor_plane_pb2.Slice(
        epoch=1,
        step=KEY.to_proto(),
        source=tensor_pb2.Party(role="ROLE_RANK", index=2),
        tensor="TENSOR_OUT",
        offset_bytes=offset,
        segment_bytes=segment_bytes,
        payload=payload.tobytes(),
    )
    return tensor_plane_pb2.PullResponse(slice=slice_).SerializeToString()


def traced_forward(connection: Cluster, rows: int) -> tuple[StepOutcome, int, int]:
    """A forward's outcome, the bytes of q, and the most allocated at once beside LSE: four per row and head."""
    q, k, v, _ = (array.view(np.uint8) for array in inputs(rows))
    # [h, s, d] in memory: rows of a head are contiguous, as many models make them, and in q they lie at a stride.
    out = np.zeros((1, q.shape[2], rows, q.shape[3]), np.uint8).transpose(2, 0, 1, 3)
    # A short window, as what ranks compute does not matter here.
    view = view_of(rows, keep="none", mask=Mask(left=16, right=0))
    with allocations() as peak:
        outcome = forward(connection, view, QkvShards(q, k, v), out).outcome
        allocated = peak()
    assert out.any()
    return outcome, q.size, allocated - rows * q.shape[2] * 4


def test_what_is_allocated_does_not_grow_with_what_travels_over_grpcio(cluster: TestCluster) -> None:
    with connect(cluster.address, data_path="grpcio", route="direct") as connection:
        _, q_bytes, allocated = traced_forward(connection, 40_000)
    # Per link one message on its way out and one on its way in, which gRPC itself puts together from pieces.
    assert allocated < 3 * 4 * CHUNK_BYTES < q_bytes


@has_native
def test_python_copies_nothing_for_the_native_path(cluster: TestCluster) -> None:
    with connect(cluster.address, data_path="native", route="direct") as connection:
        traced_forward(connection, 300)
        before = connection.path.counters()  # type: ignore[attr-defined]
        outcome, q_bytes, allocated = traced_forward(connection, 40_000)
        assert allocated < 10 * SMALL_BYTES < q_bytes
        counters = connection.path.counters()  # type: ignore[attr-defined]
        sent = counters["sent_bytes"] - before["sent_bytes"]
        assert (sent, counters["received_bytes"] - before["received_bytes"]) == (
            outcome.bytes_sent,
            outcome.bytes_received,
        )
        if sys.platform == "linux":
            # Ranks of this host read rows in memory that both map; what a chunk leaves over may be too small for that.
            assert counters["shared_connections"] == counters["links"] == 3
            assert counters["shared_bytes"] - before["shared_bytes"] > 0.9 * sent
        assert counters["steps"] == 0
