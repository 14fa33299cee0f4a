"""Forward and backward through a real cluster, from plain arrays."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.cluster import TestCluster
from ulysses_client.attention_step import QkvShards, forward
from ulysses_client.cluster import Cluster, connect
from ulysses_client.errors import (
    CancelledError,
    PeerLostError,
    UlyssesError,
)
from ulysses_client.plan import Mask
from ulysses_client.wire.convert import StepView

from .reference import attention_gradients

HEADS, KV_HEADS, SIZE = 5, 1, 16

pytestmark = pytest.mark.usefixtures("data_path")


def view_of(q_rows: int, **changes: object) -> StepView:
    view = StepView(
        "f32", "sbhd", 1, HEADS, KV_HEADS, SIZE, q_rows, q_rows, Mask(right=0), 0.25, None, "store",
        gather_size_calculator="dynamic",
    )  # fmt: skip
    return replace(view, **changes)


def inputs(rows: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """q, k, v, dout, float32 [s, 1, h, d] each."""
    random = np.random.default_rng(seed)
    return tuple(
        random.standard_normal((rows, 1, heads, SIZE), np.float32) for heads in (HEADS, KV_HEADS, KV_HEADS, HEADS)
    )


def step(connection: Cluster, view: StepView, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """out, dq, dk, dv of one owner's shard."""
    q, k, v, dout = (array.view(np.uint8) for array in arrays)
    out, dq, dk, dv = (np.zeros_like(array) for array in (arrays[0], *arrays[:3]))
    qkv = QkvShards(q, k, v)
    stored = forward(connection, view, qkv, out.view(np.uint8))
    stored.backward(qkv, dout, *(array.view(np.uint8) for array in (dq, dk, dv)))
    return out, dq, dk, dv


def spmd(address: str, splits: list[int], arrays: tuple[np.ndarray, ...], **options: object) -> list[np.ndarray]:
    """One owner per thread, each with its shard; results of the whole sequence."""
    begins = np.cumsum([0, *splits])

    def owner(index: int) -> tuple[np.ndarray, ...]:
        shards = [np.ascontiguousarray(array[begins[index] : begins[index + 1]]) for array in arrays]
        with connect(
            address, session=f"spmd-{splits}", owner_index=index, owner_count=len(splits), **options
        ) as connection:
            return step(connection, view_of(splits[index]), *shards)

    with ThreadPoolExecutor(len(splits)) as pool:
        results = list(pool.map(owner, range(len(splits))))
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


@pytest.mark.parametrize("splits", [[1], [2], [127], [60, 0, 67], [31, 32, 32, 32, 0]])
def test_any_owners_of_any_rows_get_the_float64_result(cluster: TestCluster, splits: list[int]) -> None:
    arrays = inputs(sum(splits))
    expected = attention_gradients(*arrays, scale=0.25)
    for got, want in zip(spmd(cluster.address, splits, arrays), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5)


def test_results_do_not_depend_on_who_holds_the_rows(cluster: TestCluster) -> None:
    arrays = inputs(127)
    whole = spmd(cluster.address, [127], arrays)
    for got, want in zip(spmd(cluster.address, [100, 1, 26], arrays), whole, strict=True):
        assert (got == want).all()


def test_rows_in_any_stride_give_the_same_bits(cluster: TestCluster) -> None:
    arrays = inputs(50)
    # [1, h, s, d] in memory, as many models make it.
    strided = [array.transpose(1, 2, 0, 3).copy().transpose(2, 0, 1, 3) for array in arrays]
    with connect(cluster.address) as connection:
        plain = step(connection, view_of(50), *arrays)
        for got, want in zip(step(connection, view_of(50), *strided), plain, strict=True):
            assert (got == want).all()


def test_rows_that_repeat_or_run_backwards_give_the_same_bits(cluster: TestCluster) -> None:
    q, k, v, dout = inputs(50)
    repeated = np.broadcast_to(dout[:1], dout.shape)
    with connect(cluster.address) as connection:
        plain = step(connection, view_of(50), q, k, v, np.ascontiguousarray(repeated))
        backwards = (q[::-1].copy()[::-1], k, v, repeated)
        for got, want in zip(step(connection, view_of(50), *backwards), plain, strict=True):
            assert (got == want).all()


@pytest.mark.parametrize("route", ["auto", "direct"])
@pytest.mark.parametrize("splits", [[127], [100, 1, 26]])
def test_every_route_gives_the_same_bits(cluster: TestCluster, splits: list[int], route: str) -> None:
    arrays = inputs(127)
    relayed = spmd(cluster.address, splits, arrays, route="relay")
    for got, want in zip(spmd(cluster.address, splits, arrays, route=route), relayed, strict=True):
        assert (got == want).all()


def test_several_calls_are_in_flight_at_once(cluster: TestCluster) -> None:
    arrays = inputs(200)
    with connect(cluster.address) as connection, ThreadPoolExecutor(6) as pool:
        alone = step(connection, view_of(200), *arrays)
        for results in pool.map(lambda _: step(connection, view_of(200), *arrays), range(12)):
            assert all((got == want).all() for got, want in zip(results, alone, strict=True))


def test_the_coordinator_that_works_is_found_among_several(cluster: TestCluster) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arrays = inputs(30)
    with connect(f"127.0.0.1:{port}, {cluster.address}") as connection:
        results = step(connection, view_of(30), *arrays)
    for got, want in zip(results, attention_gradients(*arrays, scale=0.25), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5)


def test_ctrl_c_ends_a_wait_for_other_owners(cluster: TestCluster) -> None:
    q, k, v, _ = (array.view(np.uint8) for array in inputs(4))
    with connect(cluster.address, session="interrupted", owner_count=2) as connection:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            forward(connection, view_of(4), QkvShards(q, k, v), np.zeros_like(q))
        timer.join()


def test_close_ends_running_calls_and_every_thread(cluster: TestCluster) -> None:
    before = set(threading.enumerate())
    connection = connect(cluster.address, session="closed", owner_count=2)
    alone = connect(cluster.address)
    step(alone, view_of(40), *inputs(40))
    q, k, v, _ = (array.view(np.uint8) for array in inputs(4))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(forward, connection, view_of(4), QkvShards(q, k, v), np.zeros_like(q))
        started = time.monotonic()
        while not any(thread.name == "ulysses-step" for thread in threading.enumerate()):
            assert time.monotonic() - started < 5
        connection.close()
        with pytest.raises((CancelledError, PeerLostError)):
            waiting.result(5)
    alone.close()
    alone.close()
    with pytest.raises(CancelledError):
        step(alone, view_of(4), *inputs(4))
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("splits", [[4000], [1700, 2300]])
def test_a_rank_killed_in_a_running_step_is_survived_with_the_same_bits(mortal: TestCluster, splits: list[int]) -> None:
    arrays = inputs(sum(splits))
    alone = spmd(mortal.address, splits, arrays)
    heard: list[UlyssesError] = []
    # A step may have ended when the kill comes: then it is made, and a rank killed, once more.
    while not heard:
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(spmd, mortal.address, splits, arrays, on_replay=lambda error, _: heard.append(error))
            mortal.wait_running()
            mortal.kill(1)
            result = again.result(60)
        assert all((got == want).all() for got, want in zip(result, alone, strict=True))
        mortal.wait_complete()
    assert all(error.retryable for error in heard)


def test_a_rank_killed_between_forward_and_backward_is_survived_with_the_same_bits(mortal: TestCluster) -> None:
    arrays = inputs(300)
    q, k, v, dout = (array.view(np.uint8) for array in arrays)
    heard: list[str] = []
    with connect(mortal.address, on_replay=lambda error, _: heard.append(error.code)) as connection:
        _, *alone = step(connection, view_of(300), *arrays)
        stored = forward(connection, view_of(300), QkvShards(q, k, v), np.zeros_like(q))
        mortal.kill(0)
        mortal.wait_complete()
        gradients = [np.zeros_like(array) for array in arrays[:3]]
        stored.backward(QkvShards(q, k, v), dout, *(array.view(np.uint8) for array in gradients))
    assert all((got == want).all() for got, want in zip(gradients, alone, strict=True))
    assert "HANDLE_GONE" in heard


def test_a_rank_killed_in_backward_of_several_owners_does_not_change_a_bit(mortal: TestCluster) -> None:
    splits, arrays = [1700, 2300], inputs(4000)
    alone = spmd(mortal.address, splits, arrays)
    begins, heard, forwards_done, go = np.cumsum([0, *splits]), [], threading.Barrier(3), threading.Barrier(3)

    def owner(index: int) -> list[np.ndarray]:
        shards = [np.ascontiguousarray(array[begins[index] : begins[index + 1]]) for array in arrays]
        q, k, v, dout = (shard.view(np.uint8) for shard in shards)
        names = {"session": "killed-in-backward", "owner_index": index, "owner_count": 2}
        with connect(mortal.address, on_replay=lambda error, _: heard.append(error.code), **names) as connection:
            out = np.zeros_like(shards[0])
            stored = forward(connection, view_of(splits[index]), QkvShards(q, k, v), out.view(np.uint8))
            forwards_done.wait(30)
            go.wait(30)
            gradients = [np.zeros_like(shard) for shard in shards[:3]]
            stored.backward(QkvShards(q, k, v), dout, *(each.view(np.uint8) for each in gradients))
            return [out, *gradients]

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(owner, index) for index in range(2)]
        forwards_done.wait(30)
        mortal.wait_idle()
        go.wait(30)
        mortal.wait_running()
        mortal.kill(1)
        results = [each.result(60) for each in running]
    for got, want in zip(zip(*results, strict=True), alone, strict=True):
        assert (np.concatenate(got) == want).all()
    # The handle was lost with the rank, so forward was repeated too.
    assert "HANDLE_GONE" in heard
    mortal.wait_complete()


def test_a_forward_can_be_dropped_and_a_backward_repeated(mortal: TestCluster) -> None:
    arrays = inputs(64)
    q, k, v, dout = (array.view(np.uint8) for array in arrays)
    with connect(mortal.address) as connection:
        stored = forward(connection, view_of(64), QkvShards(q, k, v), np.zeros_like(q))
        assert mortal.store_bytes() > 0
        results = []
        for _ in range(2):
            gradients = [np.zeros_like(array) for array in arrays[:3]]
            stored.backward(QkvShards(q, k, v), dout, *(array.view(np.uint8) for array in gradients))
            results.append(gradients)
            assert mortal.store_bytes() == 0
        assert all((a == b).all() for a, b in zip(*results, strict=True))
        forward(connection, view_of(64, keep="none"), QkvShards(q, k, v), np.zeros_like(q))
        assert mortal.store_bytes() == 0
        dropped = forward(connection, view_of(64), QkvShards(q, k, v), np.zeros_like(q))
        dropped.release()
        deadline_at = time.monotonic() + 5
        while mortal.store_bytes() > 0:
            assert time.monotonic() < deadline_at


def test_names_may_have_any_characters(cluster: TestCluster) -> None:
    arrays = inputs(12)
    name = "träumen/2 (b)! it's *~.-_%2F[0]"
    with connect(cluster.address, job=name, session=name) as connection:
        out, *_ = step(connection, view_of(12), *arrays)
    np.testing.assert_allclose(out, attention_gradients(*arrays, scale=0.25)[0], atol=2e-5)
